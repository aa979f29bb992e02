package configs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"sort"
	"strings"
)

// Source is one file of definitions. The end of Name tells its format: .hcl,
// .yaml, .yml or .json; for other names the content does.
type Source struct {
	Name string
	Data []byte
}

// MaxSource is the largest file that is read.
const MaxSource = 8 << 20

// StdinName stands for standard input, on the command line and in diagnostics.
const StdinName = "-"

var extensions = map[string]bool{".hcl": true, ".yaml": true, ".yml": true, ".json": true}

// Load reads the files that paths name: a file, a directory (its definition files,
// in the order of their names, not those of directories below it), or "-" for stdin.
func Load(paths []string, stdin io.Reader) ([]Source, error) {
	var out []Source
	for _, p := range paths {
		s, err := load(p, stdin)
		if err != nil {
			return nil, err
		}
		out = append(out, s...)
	}
	return out, nil
}

func load(path string, stdin io.Reader) ([]Source, error) {
	if path == StdinName {
		data, err := readAll(stdin)
		if err != nil {
			return nil, fmt.Errorf("cannot read standard input: %w", err)
		}
		return []Source{{Name: "<stdin>", Data: data}}, nil
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("cannot read definitions: %w", err)
	}
	if !info.IsDir() {
		return loadFile(path)
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return nil, fmt.Errorf("cannot read definitions: %w", err)
	}
	var names []string
	for _, e := range entries {
		if !e.IsDir() && extensions[filepath.Ext(e.Name())] && !strings.HasPrefix(e.Name(), ".") {
			names = append(names, e.Name())
		}
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("cannot read definitions: directory %s holds no .hcl, .yaml, .yml or .json file", path)
	}
	sort.Strings(names)
	var out []Source
	for _, n := range names {
		s, err := loadFile(filepath.Join(path, n))
		if err != nil {
			return nil, err
		}
		out = append(out, s...)
	}
	return out, nil
}

func loadFile(path string) (_ []Source, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("cannot read definitions: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	data, err := readAll(f)
	if err != nil {
		return nil, fmt.Errorf("cannot read %s: %w", path, err)
	}
	return []Source{{Name: path, Data: data}}, nil
}

func readAll(r io.Reader) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, MaxSource+1))
	if err == nil && len(data) > MaxSource {
		err = fmt.Errorf("more than %d MiB", MaxSource>>20)
	}
	return data, err
}

// blockStart is how a file in HCL begins; no YAML document of ours does.
var blockStart = regexp.MustCompile(`^[a-z_]+[ \t]+("[^"\n]*"|[\w.-]+)[ \t]*\{`)

func (s Source) isHCL() bool {
	switch strings.ToLower(filepath.Ext(s.Name)) {
	case ".hcl":
		return true
	case ".yaml", ".yml", ".json":
		return false
	}
	for line := range bytes.Lines(s.Data) {
		line = bytes.TrimSpace(line)
		if len(line) == 0 || line[0] == '#' || bytes.HasPrefix(line, []byte("//")) {
			continue
		}
		return blockStart.Match(line)
	}
	return false
}
