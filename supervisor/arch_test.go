package supervisor_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "supd/"

// imports is the table of packages: who may import which of ours. A package that is
// not in it fails the test: give it a line, and a place in the picture, first.
var imports = map[string][]string{
	"cmd/supd":          {"*"},
	"cmd/supctl":        {"*"},
	"cmd/supd-keeper":   {"*"},
	"supervisor":        {"*"},
	"supervisor/server": {"supervisor/spec", "raftstore/state", "supervisor/plan", "supervisor/client", "supervisor/template", "supervisor/pki"},
	"supervisor/client": {"supervisor/spec"},
	// Tests only: a pretended cluster behind the interfaces of server.
	"supervisor/server/servertest": {"supervisor/spec", "raftstore/state", "supervisor/plan", "supervisor/client", "supervisor/server", "supervisor/pki"},
	"supervisor/control":           {"supervisor/spec", "raftstore/state", "supervisor/plan", "supervisor/client"},
	"supervisor/agent":             {"supervisor/spec", "raftstore/state", "supervisor/keeper", "supervisor/client", "volumes", "netid", "supervisor/probe", "supervisor/template"},
	"supervisor/plan":              {"supervisor/spec", "raftstore/state"},
	"supervisor/keeper":            {},
	"supervisor/archive":           {},
	"supervisor/probe":             {"supervisor/spec"},
	"supervisor/template":          {"supervisor/spec"},
	"supervisor/sim":               {"supervisor/spec", "raftstore/state", "supervisor/plan", "netid/dns"},
	"supervisor/pki":               {},
	"supervisor/spec":              {},
	"raftstore":                    {"raftstore/state", "supervisor/spec"},
	"raftstore/state":              {"supervisor/spec"},
	"volumes":                      {"supervisor/spec"},
	"netid":                        {"supervisor/spec"},
	"netid/dns":                    {"netid", "supervisor/spec", "raftstore/state"},
	"netid/gossip":                 {"supervisor/spec"},
	"configs":                      {"supervisor/spec"},
}

// heavy names the packages that may use a heavy library; each library has one home.
// The wiring in cmd and supervisor is no home.
var heavy = map[string][]string{
	"github.com/hashicorp/raft":                  {"raftstore"},
	"github.com/hashicorp/raft-boltdb":           {"raftstore"},
	"go.etcd.io/bbolt":                           {"raftstore"},
	"github.com/hashicorp/memberlist":            {"netid/gossip"},
	"github.com/miekg/dns":                       {"netid/dns"},
	"github.com/spf13/viper":                     {"configs"},
	"github.com/spf13/cobra":                     {"cmd/supd", "cmd/supctl"},
	"github.com/hashicorp/hcl/v2":                {"configs", "supervisor/template"},
	"github.com/zclconf/go-cty":                  {"configs", "supervisor/template"},
	"go.yaml.in/yaml/v3":                         {"configs"},
	"github.com/jedib0t/go-pretty":               {"cmd/supctl"},
	"golang.org/x/term":                          {"cmd/supctl", "cmd/supd"},
	"google.golang.org/grpc":                     {"supervisor/probe"},
	"github.com/hashicorp/go-immutable-radix/v2": {"raftstore/state"},
	"github.com/vishvananda/netlink":             {"netid"},
	"github.com/hanwen/go-fuse/v2":               {"supervisor/powertest"},
}

// frugal packages use the standard library and these alone.
var frugal = map[string][]string{
	"supervisor/keeper": {"golang.org/x/sys"},
	// It is part of the keeper's binary.
	"supervisor/archive": {},
	"supervisor/spec":    {},
	"supervisor/pki":     {},
	"supervisor/plan":    {},
	"volumes":            {"golang.org/x/sys"},
}

type pkg struct {
	ImportPath   string
	Dir          string
	GoFiles      []string
	TestGoFiles  []string
	XTestGoFiles []string
	Imports      []string
}

func (p pkg) name() string { return strings.TrimPrefix(p.ImportPath, module) }

// packages lists the module by go list.
func packages(t *testing.T) []pkg {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-e", "-json=ImportPath,Dir,GoFiles,TestGoFiles,XTestGoFiles,Imports", "supd/...")
	out, err := cmd.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			t.Fatalf("go list: %v\n%s", err, exit.Stderr)
		}
		t.Fatalf("go list: %v", err)
	}
	var ps []pkg
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return ps
		} else if err != nil {
			t.Fatalf("go list's output: %v", err)
		}
		ps = append(ps, p)
	}
}

func TestImportsFollowTheTable(t *testing.T) {
	t.Parallel()
	for _, p := range packages(t) {
		if strings.HasSuffix(p.name(), "test") {
			continue // fakes for tests; that only tests import them is checked below
		}
		allowed, ok := imports[p.name()]
		if !ok {
			t.Errorf("package %s is not in the table of packages", p.name())
			continue
		}
		for _, imp := range p.Imports {
			ours, isOurs := strings.CutPrefix(imp, module)
			if isOurs && !slices.Contains(allowed, "*") && !slices.Contains(allowed, ours) {
				t.Errorf("%s imports %s; it may import %v", p.name(), ours, allowed)
			}
			if isOurs && strings.HasPrefix(ours, "cmd/") {
				t.Errorf("%s imports the command %s", p.name(), ours)
			}
			if ours == "supervisor/sim" || isOurs && strings.HasSuffix(ours, "test") {
				t.Errorf("%s imports %s, which is for tests only", p.name(), ours)
			}
		}
	}
}

func TestHeavyLibrariesHaveOneHome(t *testing.T) {
	t.Parallel()
	for _, p := range packages(t) {
		for _, imp := range p.Imports {
			for lib, homes := range heavy {
				if (imp == lib || strings.HasPrefix(imp, lib+"/")) && !slices.Contains(homes, p.name()) {
					t.Errorf("%s imports %s, whose home is %v", p.name(), imp, homes)
				}
			}
			libs, isFrugal := frugal[p.name()]
			first, _, _ := strings.Cut(imp, "/")
			if isFrugal && strings.Contains(first, ".") && !slices.ContainsFunc(libs, func(l string) bool { return strings.HasPrefix(imp, l+"/") }) {
				t.Errorf("%s imports %s; beside the standard library it may use %v", p.name(), imp, libs)
			}
		}
	}
}

// pure packages take nothing from a clock, a random source, the environment, or
// goroutines: the same log must give the same state everywhere.
var pure = []string{"raftstore/state", "supervisor/plan", "supervisor/spec", "supervisor/template"}

var impureImports = []string{"os", "math/rand", "math/rand/v2", "crypto/rand", "net/http", "os/exec", "runtime", "syscall", "sync/atomic"}

var impureCalls = map[string][]string{
	"time": {"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "NewTimer", "NewTicker", "Tick"},
}

func TestPurePackagesArePure(t *testing.T) {
	t.Parallel()
	for _, p := range packages(t) {
		if !slices.Contains(pure, p.name()) {
			continue
		}
		for _, imp := range p.Imports {
			if slices.Contains(impureImports, imp) {
				t.Errorf("%s imports %s", p.name(), imp)
			}
		}
		each(t, p, p.GoFiles, func(at token.Position, n ast.Node) {
			switch n := n.(type) {
			case *ast.SelectorExpr:
				if x, ok := n.X.(*ast.Ident); ok && slices.Contains(impureCalls[x.Name], n.Sel.Name) {
					t.Errorf("%s: %s.%s in a pure package", at, x.Name, n.Sel.Name)
				}
			case *ast.GoStmt:
				t.Errorf("%s: a goroutine in a pure package", at)
			}
		})
	}
}

func TestTestsDoNotSleep(t *testing.T) {
	t.Parallel()
	for _, p := range packages(t) {
		each(t, p, slices.Concat(p.TestGoFiles, p.XTestGoFiles), func(at token.Position, n ast.Node) {
			if s, ok := n.(*ast.SelectorExpr); ok && s.Sel.Name == "Sleep" {
				if x, ok := s.X.(*ast.Ident); ok && x.Name == "time" && !bubbled(at.Filename) {
					t.Errorf("%s: a test sleeps; wait for what it waits for", at)
				}
			}
		})
	}
}

// bubbled files use testing/synctest, where sleeping takes no time.
func bubbled(file string) bool {
	f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
	if err != nil {
		return false
	}
	return slices.ContainsFunc(f.Imports, func(i *ast.ImportSpec) bool { return i.Path.Value == strconv.Quote("testing/synctest") })
}

func TestNothingIsLeftToDo(t *testing.T) {
	t.Parallel()
	words := []string{"TO" + "DO", "FIX" + "ME", "XX" + "X", "being " + "written"}
	for _, p := range packages(t) {
		for _, f := range slices.Concat(p.GoFiles, p.TestGoFiles, p.XTestGoFiles) {
			file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(p.Dir, f), nil, parser.ParseComments)
			if err != nil {
				t.Errorf("%s: %v", f, err)
				continue
			}
			for _, g := range file.Comments {
				for _, w := range words {
					if strings.Contains(g.Text(), w) {
						t.Errorf("%s/%s: a comment says %s", p.name(), f, w)
					}
				}
			}
		}
		each(t, p, p.GoFiles, func(at token.Position, n ast.Node) {
			call, ok := n.(*ast.CallExpr)
			if !ok || len(call.Args) != 1 {
				return
			}
			fn, isIdent := call.Fun.(*ast.Ident)
			text, isLit := call.Args[0].(*ast.BasicLit)
			if isIdent && isLit && fn.Name == "panic" && strings.Contains(text.Value, words[3]) {
				t.Errorf("%s: a stub", at)
			}
		})
	}
}

// each walks the syntax of files.
func each(t *testing.T, p pkg, files []string, visit func(token.Position, ast.Node)) {
	t.Helper()
	fset := token.NewFileSet()
	for _, f := range files {
		file, err := parser.ParseFile(fset, filepath.Join(p.Dir, f), nil, 0)
		if err != nil {
			if !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s: %v", f, err)
			}
			continue
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if n != nil {
				visit(fset.Position(n.Pos()), n)
			}
			return true
		})
	}
}
