package spec

import (
	"strconv"
	"time"
)

// Default times and counts. They are written into every stored definition, so a
// later version may change them without touching what runs.
const (
	DefaultPeriod           = Duration(10 * time.Second)
	DefaultTimeout          = Duration(time.Second)
	DefaultSuccessThreshold = 1
	DefaultFailureThreshold = 3
	DefaultStopTimeout      = Duration(30 * time.Second)
	// FenceGrace is what a fenced member gets to stop under the default lease of 10s: from when a third of it is left
	// until a second before its end.
	FenceGrace              = Duration(2300 * time.Millisecond)
	DefaultStopSignal       = "SIGTERM"
	DefaultBackoffFirst     = Duration(time.Second)
	DefaultBackoffMax       = Duration(time.Minute)
	DefaultInitTimeout      = Duration(10 * time.Minute)
	DefaultHookTimeout      = Duration(10 * time.Minute)
	DefaultProgressDeadline = Duration(10 * time.Minute)
	DefaultRevisionHistory  = 10
	DefaultVolumeMode       = "0700"
	DefaultFileMode         = "0600"
	DefaultSpread           = "node"
)

// Default fills in what a definition leaves out, in place. It is idempotent. The
// server calls it before it stores a definition, supctl before it validates or
// compares one. Network.Mode stays empty when it was: it follows the cluster's
// address plan (see NetworkMode). What a Program may fill in stays empty in
// processes with an image until Resolve.
func Default(s *StatefulSet) {
	s.APIVersion, s.Kind = APIVersion, KindStatefulSet
	if s.Metadata.Namespace == "" {
		s.Metadata.Namespace = DefaultNS
	}
	if s.Spec.ServiceName == "" {
		s.Spec.ServiceName = s.Metadata.Name
	}
	s.Spec.setDefaults()
}

// DefaultService fills in what a service leaves out, in place.
func DefaultService(s *Service) {
	s.APIVersion, s.Kind = APIVersion, KindService
	if s.Metadata.Namespace == "" {
		s.Metadata.Namespace = DefaultNS
	}
	defaultPorts(s.Spec.Ports)
}

// DefaultProgram fills in what a program leaves out, in place.
func DefaultProgram(p *Program) {
	p.APIVersion, p.Kind = APIVersion, KindProgram
	if p.Metadata.Namespace == "" {
		p.Metadata.Namespace = DefaultNS
	}
	defaultPorts(p.Spec.Ports)
}

// NetworkMode is the mode that holds where the definition leaves it open: Member
// where the cluster has an address plan, else Node.
func (s *StatefulSetSpec) NetworkMode(addressPlan string) string {
	switch {
	case s.Network.Mode != "":
		return s.Network.Mode
	case addressPlan == "" || addressPlan == "none":
		return NetworkNode
	}
	return NetworkMember
}

// AutoPortName names a port that has none: "p3306".
func AutoPortName(port int) string { return "p" + strconv.Itoa(port) }

func (s *StatefulSetSpec) setDefaults() {
	setNil(&s.Replicas, 1)
	setNil(&s.RevisionHistoryLimit, DefaultRevisionHistory)
	setNil(&s.ProgressDeadline, DefaultProgressDeadline)
	setZero(&s.PodManagementPolicy, OrderedReady)
	setZero(&s.UpdateStrategy.Type, RollingUpdate)
	if s.UpdateStrategy.Type == RollingUpdate {
		if s.UpdateStrategy.RollingUpdate == nil {
			s.UpdateStrategy.RollingUpdate = &RollingUpdateOptions{}
		}
		setZero(&s.UpdateStrategy.RollingUpdate.MaxUnavailable, "1")
	}
	setZero(&s.VolumeRetention.WhenScaled, Retain)
	setZero(&s.VolumeRetention.WhenDeleted, Retain)
	if len(s.Volumes) > 0 {
		setZero(&s.OnNodeLoss, Keep)
	}
	setZero(&s.OnNodeLoss, Fence)
	setZero(&s.Network.Resolve, ResolvePrivate)
	setZero(&s.Placement.Spread, DefaultSpread)
	for i := range s.Volumes {
		setZero(&s.Volumes[i].Mode, DefaultVolumeMode)
	}
	for i := range s.Init {
		defaultInit(&s.Init[i])
	}
	for i := range s.Processes {
		p := &s.Processes[i]
		defaultPorts(p.Ports)
		if p.Image == "" {
			defaultProcess(p)
		} else { // what it says itself, the Program does not change
			defaultProbes(p)
			defaultHooks(p)
		}
	}
}

func defaultInit(s *InitStep) { setNil(&s.Timeout, DefaultInitTimeout) }

func defaultProcess(p *Process) {
	if p.Image != "" {
		setZero(&p.Output, OutputPipe)
	}
	setZero(&p.Output, OutputFile)
	for i := range p.Files {
		setZero(&p.Files[i].Mode, DefaultFileMode)
	}
	defaultProbes(p)
	defaultHooks(p)
	if name, ok := SignalName(p.Stop.Signal); ok {
		p.Stop.Signal = name
	}
	setZero(&p.Stop.Signal, DefaultStopSignal)
	setNil(&p.Stop.Timeout, DefaultStopTimeout)
	setNil(&p.Restart.Backoff.First, DefaultBackoffFirst)
	setNil(&p.Restart.Backoff.Max, max(DefaultBackoffMax, *p.Restart.Backoff.First))
	setNil(&p.NoNewPrivs, true)
}

func defaultProbes(p *Process) {
	if p.MayStop != nil {
		setZero(&p.MayStop.FailureThreshold, 1) // each answer counts
	}
	for _, k := range p.Probes() {
		if *k.At != nil {
			defaultProbe(*k.At)
		}
	}
}

func defaultProbe(p *Probe) {
	setNil(&p.Period, DefaultPeriod)
	setNil(&p.Timeout, DefaultTimeout)
	setZero(&p.SuccessThreshold, DefaultSuccessThreshold)
	setZero(&p.FailureThreshold, DefaultFailureThreshold)
	if p.HTTP != nil {
		defaultHTTP(p.HTTP)
	}
}

func defaultHTTP(h *HTTPGet) {
	setZero(&h.Scheme, "http")
	setZero(&h.Path, "/")
}

func defaultPorts(ports []Port) {
	for i := range ports {
		setZero(&ports[i].Protocol, ProtocolTCP)
		if ports[i].Name == "" && ports[i].Port != 0 {
			ports[i].Name = AutoPortName(ports[i].Port)
		}
	}
}

// Protocols of ports.
const (
	ProtocolTCP = "TCP"
	ProtocolUDP = "UDP"
)

func setNil[T any](p **T, v T) {
	if *p == nil {
		*p = &v
	}
}

func setZero[T comparable](p *T, v T) {
	var zero T
	if *p == zero {
		*p = v
	}
}

// StalledAfter is how long the set may go without progress before it counts as stalled: ProgressDeadline, or its default.
func (s *StatefulSetSpec) StalledAfter() time.Duration {
	if s.ProgressDeadline == nil {
		return DefaultProgressDeadline.D()
	}
	return s.ProgressDeadline.D()
}
