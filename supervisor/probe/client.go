package probe

import (
	"crypto/tls"
	"net/http"
	"net/url"
)

// newClient follows at most ten redirects and only to the host that was asked;
// one elsewhere is an answer by itself, and its status (3xx) passes. It ignores
// the environment's proxies and, as Kubernetes' probes do, does not verify
// certificates: a probe asks whether the member answers, not who it is.
func newClient(host string) *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			Proxy:             nil,
			DisableKeepAlives: true,
			TLSClientConfig:   &tls.Config{InsecureSkipVerify: true},
		},
		CheckRedirect: func(req *http.Request, via []*http.Request) error {
			if len(via) >= 10 || !sameHost(req.URL, host) {
				return http.ErrUseLastResponse
			}
			return nil
		},
	}
}

func sameHost(u *url.URL, host string) bool { return u.Hostname() == host }
