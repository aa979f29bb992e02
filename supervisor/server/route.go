package server

import (
	"net/http"
	"strconv"

	"supd/raftstore/state"
	"supd/supervisor/client"
	"supd/supervisor/pki"
	"supd/supervisor/spec"
)

// Route is one line of the API.
type Route struct {
	Method, Pattern string
	Access          Access
	// Leader: answered by the leader; another node forwards it once, but for what is NodeOnly.
	Leader  bool
	Handler func(*Server, http.ResponseWriter, *http.Request) error
}

// Routes is the whole API: the mux is made from it and a test walks it.
func Routes() []Route {
	const ns = "/v1/namespaces/{ns}"
	routes := []Route{
		{"GET", "/healthz", Open, false, (*Server).healthz},
		{"GET", "/readyz", Open, false, (*Server).readyz},
		{"GET", "/metrics", Open, false, (*Server).metrics},
		{"GET", "/v1/version", Read, false, (*Server).version},
		{"GET", "/v1/whoami", Read, false, (*Server).whoami},
		{"GET", "/v1/cluster", Read, false, (*Server).cluster},
		{"GET", "/v1/cluster/snapshot", Admin, false, (*Server).saveSnapshot},
		{"POST", "/v1/cluster/restore", Admin, true, (*Server).restoreSnapshot},
		{"POST", "/v1/cluster/freeze", Admin, true, (*Server).freeze},
		{"POST", "/v1/cluster/unfreeze", Admin, true, (*Server).unfreeze},
		{"POST", "/v1/cluster/transfer-leader", Admin, true, (*Server).transferLeader},
		{"POST", "/v1/cluster/rotate-gossip-key", Admin, true, (*Server).rotateGossipKey},
		{"POST", "/v1/cluster/init", Admin, false, (*Server).initCluster},
		{"GET", "/v1/cluster/join-tokens", Admin, false, (*Server).listJoinTokens},
		{"POST", "/v1/cluster/join-tokens", Admin, true, (*Server).newJoinToken},
		{"DELETE", "/v1/cluster/join-tokens/{id}", Admin, true, (*Server).revokeJoinToken},
		{"POST", "/v1/join", Open, true, (*Server).joinNode},

		{"GET", "/v1/accounts", Admin, false, (*Server).listAccounts},
		{"GET", "/v1/accounts/{name}", Admin, false, (*Server).getAccount},
		{"PUT", "/v1/accounts/{name}", Admin, true, (*Server).createAccount},
		{"DELETE", "/v1/accounts/{name}", Admin, true, (*Server).revokeAccount},

		{"PUT", ns + "/statefulsets/{name}", Write, true, (*Server).putSet},
		{"DELETE", ns + "/statefulsets/{name}", Write, true, (*Server).deleteSet},
		{"GET", ns + "/statefulsets/{name}/scale", Read, false, (*Server).getScale},
		{"PUT", ns + "/statefulsets/{name}/scale", Write, true, (*Server).scaleSet},
		{"POST", ns + "/statefulsets/{name}/restart", Write, true, (*Server).restartSet},
		{"POST", ns + "/statefulsets/{name}/plan", Write, true, (*Server).previewSet},
		{"GET", ns + "/statefulsets/{name}/rollout", Read, false, (*Server).getRollout},
		{"POST", ns + "/statefulsets/{name}/rollout/pause", Write, true, (*Server).pauseRollout},
		{"POST", ns + "/statefulsets/{name}/rollout/resume", Write, true, (*Server).resumeRollout},
		{"POST", ns + "/statefulsets/{name}/rollout/undo", Write, true, (*Server).undoRollout},

		{"DELETE", ns + "/members/{name}", Write, true, (*Server).deleteMember},
		{"POST", ns + "/members/{name}/restart", Write, true, (*Server).restartMember},
		{"GET", ns + "/members/{name}/logs", Read, false, (*Server).logs},
		{"POST", ns + "/members/{name}/exec", Enter, false, (*Server).exec},

		{"POST", ns + "/volumes/{name}/release", Write, true, (*Server).releaseVolume},
		{"POST", ns + "/volumes/{name}/undo-release", Write, true, (*Server).undoRelease},
		{"POST", ns + "/volumes/{name}/abandon", Write, true, (*Server).abandonVolume},

		{"PUT", ns + "/services/{name}", Write, true, (*Server).putService},
		{"DELETE", ns + "/services/{name}", Write, true, (*Server).deleteService},
		{"PUT", ns + "/programs/{name}", Write, true, (*Server).putProgram},
		{"DELETE", ns + "/programs/{name}", Write, true, (*Server).deleteProgram},

		{"POST", "/v1/nodes/{name}/cordon", Write, true, (*Server).cordon},
		{"POST", "/v1/nodes/{name}/uncordon", Write, true, (*Server).uncordon},
		{"POST", "/v1/nodes/{name}/forget", Admin, true, (*Server).forgetNode},
		{"POST", "/v1/nodes/{name}/drain", Write, true, (*Server).drain},
		{"POST", "/v1/nodes/{name}/labels", Write, true, (*Server).labelNode},
		{"POST", "/v1/nodes/{name}/leave", Admin, true, (*Server).leave},
		{"POST", "/v1/nodes/{name}/upgrade-keeper", Enter, false, (*Server).upgradeKeeper},

		{"POST", renewal, NodeOnly, false, (*Server).renew},
		{"POST", "/v1/internal/heartbeat", NodeOnly, true, (*Server).heartbeat},
		{"POST", "/v1/internal/report", NodeOnly, true, (*Server).report},
		{"POST", "/v1/internal/register", NodeOnly, true, (*Server).register},
		{"POST", "/v1/internal/stopping", Admin, true, (*Server).stopping},
		{"GET", "/v1/internal/seed", NodeOnly, true, (*Server).seed},
		{"GET", "/v1/internal/gossip-keys", NodeOnly, false, (*Server).gossipKeys},
		{"GET", "/v1/internal/leases", NodeOnly, true, (*Server).leases},
		{"GET", "/v1/internal/logs", NodeOnly, false, (*Server).nodeLogs},
		{"POST", "/v1/internal/exec", NodeOnly, false, (*Server).nodeExec},
		{"GET", "/v1/internal/usage", NodeOnly, false, (*Server).nodeUsage},
		{"GET", "/v1/internal/probes", NodeOnly, false, (*Server).nodeProbes},
		{"POST", "/v1/internal/may-stop", NodeOnly, false, (*Server).nodeMayStop},
		{"GET", "/v1/internal/trouble", NodeOnly, false, (*Server).nodeTrouble},
		{"GET", "/v1/internal/keeper", NodeOnly, false, (*Server).nodeKeeper},
		{"POST", "/v1/internal/upgrade-keeper", NodeOnly, false, (*Server).nodeUpgradeKeeper},
	}
	for _, k := range kinds() {
		path := "/v1/" + string(k.resource)
		routes = append(routes, Route{"GET", path, Read, false, k.list})
		if k.resource.Namespaced() {
			path = ns + "/" + string(k.resource)
			routes = append(routes, Route{"GET", path, Read, false, k.list})
		}
		routes = append(routes, Route{"GET", path + "/{name}", Read, false, k.get})
		if k.explain != nil {
			routes = append(routes, Route{"GET", path + "/{name}/explain", Read, false, k.explainObject})
		}
	}
	return routes
}

func (s *Server) mux() *http.ServeMux {
	mux := http.NewServeMux()
	for _, rt := range Routes() {
		mux.Handle(rt.Method+" "+rt.Pattern, s.serve(rt))
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		s.fail(w, r, spec.Errorf(spec.CodeNotFound, "there is nothing at %s %s", r.Method, r.URL.Path))
	})
	return mux
}

// serve puts the rules of a route before its handler.
func (s *Server) serve(rt Route) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r, end, err := s.admit(r, rt)
		if err != nil {
			s.fail(w, r, err)
			return
		}
		defer end()
		defer sayEnd(w, r)
		if shown := shownCert(r); shown != nil && pki.Due(shown, shown.Subject.CommonName, s.o.Now()) {
			w.Header().Set("Connection", "close") // the next one will show the certificate that is renewed
		}
		if err := checkBody(r); err != nil {
			s.fail(w, r, err)
			return
		}
		consistent := flag(r, "consistent") && rt.Method == http.MethodGet && (rt.Access == Read || rt.Access == Admin)
		if rt.Leader || consistent {
			if rs := s.o.Cluster.Lead(); !rs.Leading {
				if rt.Access == NodeOnly {
					s.fail(w, r, s.askTheLeader(r, rs))
					return
				}
				if err := s.forward(w, r, rs); err != nil {
					s.fail(w, r, err)
				}
				return
			}
		}
		if consistent {
			if err := s.readBarrier(r); err != nil {
				s.fail(w, r, err)
				return
			}
		}
		if err := rt.Handler(s, w, r); err != nil {
			s.fail(w, r, err)
		}
	})
}

// readBarrier makes sure that this node leads and has applied all that was
// committed when the request came in.
func (s *Server) readBarrier(r *http.Request) error {
	if err := s.o.Store.Barrier(r.Context()); err != nil {
		return err
	}
	return s.o.Store.Verify(r.Context())
}

// wrap counts requests, and bounds paths and bodies.
func (s *Server) wrap(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.counts.requests.Add(1)
		if err := checkPath(r.URL.Path); err != nil { // before the mux, which would redirect to another form of it
			s.fail(w, r, err)
			return
		}
		most := int64(maxBody)
		if r.URL.Path == "/v1/cluster/restore" {
			most = maxRestoreBody
		}
		r.Body = http.MaxBytesReader(w, newTimedBody(w, r.Body), most)
		h.ServeHTTP(w, r)
	})
}

// flag reads a boolean of the query.
func flag(r *http.Request, name string) bool {
	switch r.URL.Query().Get(name) {
	case "1", "true":
		return true
	}
	return false
}

func setIndex(w http.ResponseWriter, v *state.View) {
	w.Header().Set(client.HeaderIndex, strconv.FormatUint(v.Index, 10))
}
