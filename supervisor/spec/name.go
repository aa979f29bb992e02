package spec

import (
	"fmt"
	"strconv"
	"strings"
)

// MaxLabel is the longest DNS label (RFC 1035, 2.3.4); member and claim names
// must stay within it.
const MaxLabel = 63

// MemberName is "web-0".
func MemberName(set string, ordinal int) string { return set + "-" + strconv.Itoa(ordinal) }

// InitProcess is how an init step is called among a member's processes, in logs.
func InitProcess(step string) string { return "init-" + step }

// SplitMember splits "web-0" into "web" and 0.
func SplitMember(name string) (set string, ordinal int, ok bool) {
	i := strings.LastIndexByte(name, '-')
	if i <= 0 || i == len(name)-1 {
		return "", 0, false
	}
	digits := name[i+1:]
	n, err := strconv.Atoi(digits)
	if err != nil || n < 0 || strconv.Itoa(n) != digits {
		return "", 0, false
	}
	return name[:i], n, true
}

// VolumeName is "data-web-0".
func VolumeName(template, set string, ordinal int) string {
	return template + "-" + MemberName(set, ordinal)
}

// RevisionName is "web-5d8f7c9b4a".
func RevisionName(set, hash string) string { return set + "-" + hash }

// ServiceFQDN is "web.default.svc.cluster.local".
func ServiceFQDN(service, namespace, zone string) string {
	return service + "." + namespace + ".svc." + zone
}

// MemberFQDN is "web-0.web.default.svc.cluster.local".
func MemberFQDN(member, service, namespace, zone string) string {
	return member + "." + ServiceFQDN(service, namespace, zone)
}

// CheckLabel tells what keeps s from being a DNS label (RFC 1123), or nil.
func CheckLabel(s string) error {
	if s == "" {
		return fmt.Errorf("a name is needed")
	}
	if len(s) > MaxLabel {
		return fmt.Errorf("%q has %d characters, %d are allowed", s, len(s), MaxLabel)
	}
	for i, c := range []byte(s) {
		alnum := c >= 'a' && c <= 'z' || c >= '0' && c <= '9'
		if alnum || c == '-' && i > 0 && i < len(s)-1 {
			continue
		}
		return fmt.Errorf("%q is not a DNS label: lower case letters, digits and inner hyphens only", s)
	}
	return nil
}

// NodeName is the name in a node's id, NAME.8HEX.
func NodeName(id string) string {
	name, _, _ := strings.Cut(id, ".")
	return name
}
