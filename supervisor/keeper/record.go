package keeper

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// recordVersion is the highest of the files below that this keeper knows; it refuses to judge newer ones. A record has
// the lowest that means the same to the keeper reading it, so that an older one doesn't restart a program with less in
// its way than was asked for; what else there is has the first.
const (
	recordVersion = 2
	firstVersion  = 1
)

// want is what was last asked for a process.
type want string

const (
	wantRun  want = "run"
	wantStop want = "stop"
	wantFail want = "failed" // the process itself asked, by a code of NeverOn
)

// record is what a keeper must know of a process to start it again: RECORDS/KEY.json, fsync'ed before it counts.
type record struct {
	Version int    `json:"version"`
	Boot    string `json:"boot"` // boot id of the host when it was written
	Want    want   `json:"want"`
	Fenced  bool   `json:"fenced,omitempty"` // the lease's end has stopped it
	Start   Start  `json:"start"`
}

// life is what a keeper knows of a process's present life: RECORDS/KEY.life, written in place and not fsync'ed, for it
// means nothing after a boot. Epoch, Lock and Fence are there in case the record is damaged. Fenced says that a lapse of the
// lease stops it, whatever the record says.
type life struct {
	Version  int       `json:"version"`
	Boot     string    `json:"boot"`
	Epoch    uint64    `json:"epoch"`
	Want     want      `json:"want,omitempty"` // where a full disk did not take the record of a stop
	Lock     string    `json:"lock"`
	Fence    bool      `json:"fence,omitempty"`
	Fenced   bool      `json:"fenced,omitempty"`
	Cgroup   string    `json:"cgroup,omitempty"` // its directory
	PID      int       `json:"pid,omitempty"`
	Ticks    uint64    `json:"ticks,omitempty"` // start time of PID
	State    State     `json:"state"`
	Started  time.Time `json:"started,omitzero"`
	Restart  int       `json:"restarts,omitempty"`
	Streak   int       `json:"streak,omitempty"`
	Pause    int64     `json:"pause,omitempty"`
	Exit     Exit      `json:"exit,omitzero"`
	OOMKills int       `json:"oomKills,omitempty"`
	Message  string    `json:"message,omitempty"`

	// Of sd_notify: what was told, where, and the extension asked for last.
	Notify NotifyStatus `json:"notify,omitzero"`
	Socket string       `json:"socket,omitempty"`
	Extend int64        `json:"extend,omitempty"`

	Output *outputNote `json:"output,omitempty"`
}

// giveUp is an epoch given up: EPOCHS/MEMBER.json.
type giveUp struct {
	Version int    `json:"version"`
	Member  string `json:"member"`
	Epoch   uint64 `json:"epoch"`
}

// files are the keeper's own on disk.
type files struct{ dir string }

func (f files) records() string          { return filepath.Join(f.dir, "records") }
func (f files) epochs() string           { return filepath.Join(f.dir, "epochs") }
func (f files) locks() string            { return filepath.Join(f.dir, "locks") }
func (f files) notifies() string         { return filepath.Join(f.dir, "notify") }
func (f files) lease() string            { return filepath.Join(f.dir, "lease.json") }
func (f files) socket() string           { return filepath.Join(f.dir, "keeper.sock") }
func (f files) record(k key) string      { return filepath.Join(f.records(), k.file()+".json") }
func (f files) life(k key) string        { return filepath.Join(f.records(), k.file()+".life") }
func (f files) epoch(m string) string    { return filepath.Join(f.epochs(), fileName(m)+".json") }
func (f files) defaultLock(k key) string { return filepath.Join(f.locks(), k.file()+".lock") }

// locksOf lists the lock files of a member that are in the keeper's own directory, those without a record too.
func (f files) locksOf(member string) ([]string, error) {
	entries, err := os.ReadDir(f.locks())
	if err != nil {
		return nil, err
	}
	var paths []string
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), fileName(member)+"@") {
			paths = append(paths, filepath.Join(f.locks(), e.Name()))
		}
	}
	return paths, nil
}

// make makes the directories. Members reach their notify sockets through the first, and nothing else there.
func (f files) make() error {
	made := false
	for _, d := range []string{f.dir, f.records(), f.epochs(), f.locks(), f.notifies()} {
		if _, err := os.Lstat(d); err == nil {
			continue
		}
		if err := os.MkdirAll(d, 0o700); err != nil {
			return err
		}
		made = true
	}
	err := errors.Join(os.Chmod(f.dir, 0o711), os.Chmod(f.notifies(), 0o711))
	if err == nil && made {
		err = f.settle()
	}
	return err
}

// settle has the directories on disk for good: with a lost one all in it is lost, synced or not.
func (f files) settle() error { return errors.Join(syncDir(f.dir), syncDir(filepath.Dir(f.dir))) }

// writeSynced puts v into a file so that after a crash of anything either the old or the new is there, whole.
func writeSynced(path string, v any) (err error) {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*") // 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(tmp.Name()))
		}
	}()
	_, err = tmp.Write(sealed(b))
	if err == nil {
		err = tmp.Sync()
	}
	if err := errors.Join(err, tmp.Close()); err != nil {
		return err
	}
	if err := os.Rename(tmp.Name(), path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// removeSynced removes a file, if it is there, for good.
func removeSynced(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// sealed makes a file of one line of JSON: the line, and below it its checksum, so that a damaged one is not believed.
func sealed(line []byte) []byte {
	return fmt.Appendf(line, "\ncrc32c %08x\n", crc32.Checksum(line, castagnoli))
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// unseal gives the line of a file that was sealed, or written by a keeper that did not.
func unseal(path string, b []byte) ([]byte, error) {
	line, rest, ok := bytes.Cut(b, []byte("\n"))
	if !ok {
		return nil, fmt.Errorf("%s is cut short", path)
	}
	if len(rest) == 0 {
		return line, nil
	}
	seal, _, ok := bytes.Cut(rest, []byte("\n"))
	if !ok || string(seal) != fmt.Sprintf("crc32c %08x", crc32.Checksum(line, castagnoli)) {
		return nil, fmt.Errorf("%s is damaged: its checksum does not fit", path)
	}
	return line, nil
}

// writeInPlace overwrites a file with one write, so that kill -9 leaves the old or the new, and a full disk
// takes it if the file was there.
func writeInPlace(path string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	b = sealed(b)
	fd, err := unix.Open(path, unix.O_WRONLY|unix.O_CREAT|unix.O_CLOEXEC|unix.O_NOFOLLOW, uint32(modePrivate))
	if err != nil {
		return &os.PathError{Op: "open", Path: path, Err: err}
	}
	n, err := unix.Pwrite(fd, b, 0)
	if err == nil && n < len(b) {
		err = unix.ENOSPC
	}
	if err == nil {
		err = unix.Ftruncate(fd, int64(len(b)))
	}
	if err := errors.Join(err, unix.Close(fd)); err != nil {
		return &os.PathError{Op: "write", Path: path, Err: err}
	}
	return nil
}

// readFirstLine reads what the two above have written.
func readFirstLine(path string, v any) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	line, err := unseal(path, b)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(line, v); err != nil {
		return fmt.Errorf("%s is damaged: %w", path, err)
	}
	return nil
}

func checkVersion(path string, v, most int) error {
	if v < 1 || v > most {
		return fmt.Errorf("%s has version %d, this keeper knows up to %d", path, v, most)
	}
	return nil
}

func (f files) readRecord(k key) (record, error) {
	var r record
	err := readFirstLine(f.record(k), &r)
	if err == nil {
		err = checkVersion(f.record(k), r.Version, recordVersion)
	}
	if err == nil && (r.Start.Member != k.member || r.Start.Process != k.process) {
		err = fmt.Errorf("%s is of %s %s", f.record(k), r.Start.Member, r.Start.Process)
	}
	return r, err
}

func (f files) readLife(k key) (life, error) {
	var l life
	err := readFirstLine(f.life(k), &l)
	if err == nil {
		err = checkVersion(f.life(k), l.Version, firstVersion)
	}
	return l, err
}

// readEpoch gives the highest epoch of member that was given up, 0 if none.
func (f files) readEpoch(member string) (uint64, error) {
	var g giveUp
	err := readFirstLine(f.epoch(member), &g)
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	if err == nil {
		err = checkVersion(f.epoch(member), g.Version, firstVersion)
	}
	if err == nil && g.Member != member {
		err = fmt.Errorf("%s is of %s", f.epoch(member), g.Member)
	}
	return g.Epoch, err
}

// recorded lists the processes that have a record or a life, and removes what an interrupted write has left.
func (f files) recorded() ([]key, error) {
	entries, err := os.ReadDir(f.records())
	if err != nil {
		return nil, err
	}
	var keys []key
	seen := map[key]bool{}
	var errs []error
	for _, e := range entries {
		name := e.Name()
		if strings.HasPrefix(name, ".") {
			errs = append(errs, os.Remove(filepath.Join(f.records(), name)))
			continue
		}
		base, ok := strings.CutSuffix(name, ".json")
		if !ok {
			base, ok = strings.CutSuffix(name, ".life")
		}
		if !ok {
			continue
		}
		k, err := keyOf(base)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if !seen[k] {
			seen[k] = true
			keys = append(keys, k)
		}
	}
	return keys, errors.Join(errs...)
}
