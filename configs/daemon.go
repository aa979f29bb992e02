package configs

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/agext/levenshtein"
	"github.com/go-viper/mapstructure/v2"
	"github.com/spf13/viper"

	"supd/supervisor/spec"
)

// Daemon is the configuration of one supd. The keys of files are the names in the
// tags; environment variables are SUPD_ and the name in capitals; flags have
// hyphens for underscores. configs/supd.yaml documents each.
type Daemon struct {
	Name              string        `mapstructure:"name"`
	DataDir           string        `mapstructure:"data_dir"`
	Socket            string        `mapstructure:"socket"`
	SocketGroup       string        `mapstructure:"socket_group"`
	SocketRead        bool          `mapstructure:"socket_read"`
	APIHosts          []string      `mapstructure:"api_hosts"`
	APIRate           int           `mapstructure:"api_rate"`
	APIStreams        int           `mapstructure:"api_streams"`
	APIConnections    int           `mapstructure:"api_connections"`
	API               string        `mapstructure:"api"`
	Raft              string        `mapstructure:"raft"`
	Gossip            string        `mapstructure:"gossip"`
	DNS               string        `mapstructure:"dns"`
	Advertise         string        `mapstructure:"advertise"` // see AdvertiseFor
	HostIP            string        `mapstructure:"host_ip"`
	BootstrapExpect   int           `mapstructure:"bootstrap_expect"`
	BootstrapSecret   Secret        `mapstructure:"bootstrap_secret"` // read it by Secret
	SecretFile        string        `mapstructure:"bootstrap_secret_file"`
	Join              []string      `mapstructure:"join"`
	Token             Secret        `mapstructure:"token"` // read it by JoinToken
	TokenFile         string        `mapstructure:"token_file"`
	AddressPlan       string        `mapstructure:"address_plan"`
	Zone              string        `mapstructure:"zone"`
	Labels            []string      `mapstructure:"labels"` // key=value; see LabelMap
	Lease             spec.Duration `mapstructure:"lease"`
	Heartbeat         spec.Duration `mapstructure:"heartbeat"`
	VoterSpread       string        `mapstructure:"voter_spread"`
	VoterReplaceAfter spec.Duration `mapstructure:"voter_replace_after"`
	KeeperManaged     string        `mapstructure:"keeper_managed"`
	KeeperBinary      string        `mapstructure:"keeper_binary"`
	TrashKeep         spec.Duration `mapstructure:"trash_keep"`
	SnapshotEvery     spec.Duration `mapstructure:"snapshot_every"`
	SnapshotDir       string        `mapstructure:"snapshot_dir"` // see SnapshotsDir
	SnapshotKeep      int           `mapstructure:"snapshot_keep"`
	LogMax            string        `mapstructure:"log_max"` // a spec.Quantity
	LogLevel          string        `mapstructure:"log_level"`
	LogFormat         string        `mapstructure:"log_format"`
}

// Values of keeper_managed and address_plan.
const (
	KeeperBySupd    = "supd"
	KeeperBySystemd = "systemd"
	PlanNone        = "none"
	PlanLoopback    = "loopback"
)

// DefaultDaemonFile is read when no file is named; it need not exist.
const DefaultDaemonFile = "/etc/supd/supd.yaml"

// DefaultSocketGroup may be missing on a host; another one that is set may not.
const DefaultSocketGroup = "supd"

// DefaultDaemon is the configuration before any file, variable or flag.
func DefaultDaemon() Daemon {
	return Daemon{
		Name: hostName(), DataDir: "/var/lib/supd",
		Socket: "/run/supd/supd.sock", SocketGroup: DefaultSocketGroup,
		APIHosts: []string{}, APIRate: 500, APIStreams: 100, APIConnections: 1000,
		API: "127.0.0.1:7950", Raft: "127.0.0.1:7951", Gossip: "127.0.0.1:7952", DNS: "127.0.0.1:7953",
		HostIP: "127.0.0.1", AddressPlan: PlanNone, Zone: spec.ClusterZone,
		Lease: spec.Duration(10 * time.Second), Heartbeat: spec.Duration(500 * time.Millisecond),
		VoterSpread: "rack", VoterReplaceAfter: spec.Duration(time.Minute),
		KeeperManaged: KeeperBySupd, TrashKeep: spec.Duration(24 * time.Hour),
		SnapshotEvery: spec.Duration(24 * time.Hour), SnapshotKeep: 7,
		LogMax:   "32Mi",
		LogLevel: "info", LogFormat: "text",
	}
}

// hostName is the first label of this host's name, as a node may be called.
func hostName() string {
	h, err := os.Hostname()
	if err != nil {
		return ""
	}
	first, _, _ := strings.Cut(strings.ToLower(h), ".")
	return first
}

// DaemonKeys lists the keys in the order of Daemon's fields.
func DaemonKeys() []string {
	t := reflect.TypeFor[Daemon]()
	var out []string
	for i := range t.NumField() {
		out = append(out, t.Field(i).Tag.Get("mapstructure"))
	}
	return out
}

// DaemonSources say where a configuration comes from. Flags win over the
// environment, that over the file, that over the defaults.
type DaemonSources struct {
	// File is read when not ""; else DefaultDaemonFile, if it exists.
	File string
	// Env is os.Environ's form; only the SUPD_ variables of known keys count.
	Env []string
	// Flags are values by key, as text; only those that were given.
	Flags map[string]string
}

// LoadDaemon puts the configuration together and checks it. All errors are
// reported at once.
func LoadDaemon(s DaemonSources) (Daemon, error) {
	v := viper.New()
	raw, from, err := readDaemonFile(s.File)
	if err != nil {
		return Daemon{}, err
	}
	if err := unknownKeys(raw, from); err != nil {
		return Daemon{}, err
	}
	if err := checkSecretIn(raw, from); err != nil {
		return Daemon{}, err
	}
	if err := v.MergeConfigMap(raw); err != nil {
		return Daemon{}, fmt.Errorf("cannot read %s: %w", from, err)
	}
	for k, val := range envValues(s.Env) {
		v.Set(k, val)
	}
	for k, val := range s.Flags { // viper: what is set last wins
		v.Set(k, val)
	}
	d := DefaultDaemon()
	err = v.UnmarshalExact(&d, func(c *mapstructure.DecoderConfig) {
		c.WeaklyTypedInput = false
		c.DecodeHook = mapstructure.ComposeDecodeHookFunc(durationHook, listHook, intHook, boolHook)
	})
	if err != nil {
		return Daemon{}, fmt.Errorf("cannot use the configuration: %w", err)
	}
	return d, d.Check()
}

// envValues picks the variables of known keys.
func envValues(env []string) map[string]string {
	out := map[string]string{}
	for _, k := range DaemonKeys() {
		name := "SUPD_" + strings.ToUpper(k) + "="
		for _, e := range env {
			if val, ok := strings.CutPrefix(e, name); ok {
				out[k] = val
			}
		}
	}
	return out
}

// unknownKeys refuses keys that are not Daemon's, with a guess at what was meant.
func unknownKeys(raw map[string]any, from string) error {
	known := DaemonKeys()
	var errs []error
	for _, k := range slices.Sorted(maps.Keys(raw)) {
		found, best, dist := false, "", 4
		for _, want := range known {
			found = found || want == k
			if d := levenshtein.Distance(strings.ToLower(k), want, nil); d < dist {
				best, dist = want, d
			}
		}
		switch {
		case found:
		case best != "":
			errs = append(errs, fmt.Errorf("%s: unknown key %q; did you mean %q?", from, k, best))
		default:
			errs = append(errs, fmt.Errorf("%s: unknown key %q; the keys are %s", from, k, strings.Join(known, ", ")))
		}
	}
	return errors.Join(errs...)
}

// durationHook takes durations with a unit only: a bare 10 could be anything.
func durationHook(from, to reflect.Type, data any) (any, error) {
	if to != reflect.TypeFor[spec.Duration]() || from == to {
		return data, nil
	}
	s, ok := data.(string)
	if !ok {
		return nil, fmt.Errorf("a duration needs a unit, such as %q, not %v", "10s", data)
	}
	return spec.ParseDuration(s)
}

// listHook splits the text of a variable or flag at commas.
func listHook(from, to reflect.Type, data any) (any, error) {
	s, ok := data.(string)
	if !ok || to.Kind() != reflect.Slice {
		return data, nil
	}
	out := []string{}
	for _, part := range strings.Split(s, ",") {
		if part = strings.TrimSpace(part); part != "" {
			out = append(out, part)
		}
	}
	return out, nil
}

// intHook reads the number of a variable or flag.
func intHook(from, to reflect.Type, data any) (any, error) {
	s, ok := data.(string)
	if !ok || to.Kind() != reflect.Int {
		return data, nil
	}
	var n int
	if _, err := fmt.Sscanf(s+"\n", "%d\n", &n); err != nil {
		return nil, fmt.Errorf("want a number, not %q", s)
	}
	return n, nil
}

// boolHook reads the truth of a variable or flag.
func boolHook(from, to reflect.Type, data any) (any, error) {
	s, ok := data.(string)
	if !ok || to.Kind() != reflect.Bool {
		return data, nil
	}
	b, err := strconv.ParseBool(s)
	if err != nil {
		return nil, fmt.Errorf("want true or false, not %q", s)
	}
	return b, nil
}

// LabelMap returns the labels by key.
func (d Daemon) LabelMap() map[string]string {
	out := map[string]string{}
	for _, l := range d.Labels {
		k, v, _ := strings.Cut(l, "=")
		out[k] = v
	}
	return out
}

// MinLogMax is the least that log_max may be, in bytes.
const MinLogMax = 64 << 10

// LogMaxBytes is log_max in bytes.
func (d Daemon) LogMaxBytes() (int64, error) { return spec.Quantity(d.LogMax).Bytes() }

// SnapshotsDir is where scheduled snapshots go.
func (d Daemon) SnapshotsDir() string {
	if d.SnapshotDir != "" {
		return d.SnapshotDir
	}
	return filepath.Join(d.DataDir, "snapshots")
}

// KeeperSocket is where this daemon's keeper listens.
func (d Daemon) KeeperSocket() string { return filepath.Join(d.DataDir, "keeper", "keeper.sock") }

// Check tells everything that is wrong with a configuration.
func (d Daemon) Check() error {
	var errs []error
	bad := func(key, format string, args ...any) {
		errs = append(errs, fmt.Errorf("%s: %s", key, fmt.Sprintf(format, args...)))
	}
	if err := spec.CheckLabel(d.Name); err != nil {
		bad("name", "%v", err)
	}
	for key, p := range map[string]string{"data_dir": d.DataDir, "socket": d.Socket} {
		if !filepath.IsAbs(p) {
			bad(key, "must be an absolute path, not %q", p)
		}
	}
	if d.Advertise != "" {
		if ip := net.ParseIP(d.Advertise); ip == nil || ip.IsUnspecified() {
			bad("advertise", "must be the IP address by which other nodes reach this one, not %q", d.Advertise)
		}
	}
	for key, a := range map[string]string{"api": d.API, "raft": d.Raft, "gossip": d.Gossip, "dns": d.DNS} {
		if err := ipAddr(a); err != nil {
			bad(key, "%v", err)
		} else if _, err := d.AdvertiseFor(a); err != nil && key != "dns" {
			bad(key, "%v", err)
		}
	}
	if ip := net.ParseIP(d.HostIP); ip == nil || ip.To4() == nil || ip.IsUnspecified() {
		bad("host_ip", "must be an IPv4 address of this host, not %q", d.HostIP)
	}
	if d.BootstrapExpect < 0 || d.BootstrapExpect > 100 {
		bad("bootstrap_expect", "must be between 0 and 100, not %d", d.BootstrapExpect)
	}
	if d.BootstrapSecret != "" && d.SecretFile != "" {
		bad("bootstrap_secret", "goes with bootstrap_secret_file not together; the file is the better way")
	}
	if d.SecretFile != "" && !filepath.IsAbs(d.SecretFile) {
		bad("bootstrap_secret_file", "must be an absolute path, not %q", d.SecretFile)
	}
	if d.Token != "" && d.TokenFile != "" {
		bad("token", "goes with token_file not together; the file is the better way")
	}
	if d.TokenFile != "" && !filepath.IsAbs(d.TokenFile) {
		bad("token_file", "must be an absolute path, not %q", d.TokenFile)
	}
	if (d.Token != "" || d.TokenFile != "") && len(d.Join) == 0 {
		bad("join", "a token needs the address of a node's API to be shown to")
	}
	for _, j := range d.Join {
		host, port, err := net.SplitHostPort(j)
		if err == nil && (host == "" || port == "") || j == "" || err != nil && strings.Count(j, ":") == 1 {
			bad("join", "want host or host:port, not %q", j)
		}
	}
	for _, l := range d.Labels {
		if k, _, ok := strings.Cut(l, "="); !ok || k == "" {
			bad("labels", "want key=value, not %q", l)
		}
	}
	oneOf := func(key, value string, allowed ...string) {
		for _, a := range allowed {
			if a == value {
				return
			}
		}
		bad(key, "must be one of %s, not %q", strings.Join(allowed, ", "), value)
	}
	oneOf("address_plan", d.AddressPlan, PlanNone, PlanLoopback)
	oneOf("keeper_managed", d.KeeperManaged, KeeperBySupd, KeeperBySystemd)
	oneOf("log_level", d.LogLevel, "debug", "info", "warn", "error")
	oneOf("log_format", d.LogFormat, "text", "json")
	for _, label := range strings.Split(d.Zone, ".") {
		if err := spec.CheckLabel(label); err != nil {
			bad("zone", "%q is no DNS domain: %v", d.Zone, err)
			break
		}
	}
	for key, n := range map[string]int{"api_rate": d.APIRate, "api_streams": d.APIStreams} {
		if n < 1 {
			bad(key, "must be 1 or more, not %d", n)
		}
	}
	if d.APIConnections < 16 {
		bad("api_connections", "must be 16 or more, not %d", d.APIConnections)
	}
	if d.Heartbeat <= 0 {
		bad("heartbeat", "must be more than 0, not %s", d.Heartbeat)
	} else if least := 3*d.Heartbeat + spec.Duration(2*time.Second); d.Lease < least {
		bad("lease", "%s is too short: with heartbeat %s it must be at least %s (3 heartbeats and 2s)", d.Lease, d.Heartbeat, least)
	}
	if n, err := d.LogMaxBytes(); err != nil {
		bad("log_max", "%v", err)
	} else if n < MinLogMax {
		bad("log_max", "must be 64Ki or more, not %q", d.LogMax)
	}
	if d.VoterReplaceAfter <= 0 {
		bad("voter_replace_after", "must be more than 0, not %s", d.VoterReplaceAfter)
	}
	if d.SnapshotEvery != 0 && d.SnapshotEvery < spec.Duration(time.Minute) {
		bad("snapshot_every", "must be 1m or more, or 0s for none, not %s", d.SnapshotEvery)
	}
	if d.SnapshotDir != "" && !filepath.IsAbs(d.SnapshotDir) {
		bad("snapshot_dir", "must be an absolute path, not %q", d.SnapshotDir)
	}
	if d.SnapshotKeep < 1 {
		bad("snapshot_keep", "must be 1 or more, not %d", d.SnapshotKeep)
	}
	if d.TrashKeep < 0 {
		bad("trash_keep", "must not be negative")
	}
	sort.Slice(errs, func(i, j int) bool { return errs[i].Error() < errs[j].Error() })
	if len(errs) > 0 {
		return fmt.Errorf("the configuration is wrong: %w", errors.Join(errs...))
	}
	return nil
}

// ipAddr refuses what is not an IP address and a port.
func ipAddr(addr string) error {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("want host:port, not %q", addr)
	}
	if net.ParseIP(host) == nil {
		return fmt.Errorf("%s does not begin with an IP address", addr)
	}
	return nil
}

// AdvertiseFor is the IP address by which other nodes reach what listens on addr: advertise,
// or else the address itself, or, for one that stands for all, host_ip.
func (d Daemon) AdvertiseFor(addr string) (string, error) {
	if d.Advertise != "" {
		return d.Advertise, nil
	}
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return "", fmt.Errorf("want host:port, not %q", addr)
	}
	if ip := net.ParseIP(host); ip != nil && !ip.IsUnspecified() {
		return host, nil
	}
	if ip := net.ParseIP(d.HostIP); ip != nil && !ip.IsLoopback() && !ip.IsUnspecified() {
		return d.HostIP, nil
	}
	return "", fmt.Errorf("%s stands for all addresses of this host: set advertise to the one by which other nodes reach it", addr)
}
