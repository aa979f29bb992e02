package keeper

import (
	"bytes"
	"compress/flate"
	"io"
	"strings"
	"sync"
)

// asked is a Start as a process holds it for as long as it lives. Its environment is packed: it names all members of the set, and
// a thousand of those on a host would be most of what the keeper holds.
type asked struct {
	Start // without Env; for that see whole
	env   packedEnv
}

func ask(s Start) asked {
	env := packEnv(s.Env)
	s.Env = nil
	return asked{s, env}
}

// whole is the Start as it was asked for.
func (a *asked) whole() Start {
	s := a.Start
	s.Env = a.env.unpack()
	return s
}

// packedEnv is an environment: as it is where it is small, else deflated. It is unpacked at each exec and each write
// of the record, which takes less than a tenth of the fork.
type packedEnv struct {
	plain  []string
	packed []byte // the variables, each ended by a zero byte, which none can hold
}

// packFrom is the size from which an environment is worth packing.
const packFrom = 2048

// deflaters are used again: each holds more than all that it packs.
var deflaters = sync.Pool{New: func() any {
	w, err := flate.NewWriter(io.Discard, flate.BestSpeed)
	if err != nil {
		panic("keeper: compress/flate does not know its own level: " + err.Error())
	}
	return w
}}

func packEnv(env []string) packedEnv {
	size := 0
	for _, kv := range env {
		size += len(kv)
		if strings.IndexByte(kv, 0) >= 0 { // it will be refused; it is not to be told wrong
			return packedEnv{plain: env}
		}
	}
	if size < packFrom {
		return packedEnv{plain: env}
	}
	var b bytes.Buffer
	w := deflaters.Get().(*flate.Writer)
	defer deflaters.Put(w)
	w.Reset(&b)
	for _, kv := range env {
		_, _ = io.WriteString(w, kv) // into memory
		_, _ = w.Write([]byte{0})    // into memory
	}
	_ = w.Close() // into memory
	return packedEnv{packed: bytes.Clone(b.Bytes())}
}

func (p packedEnv) unpack() []string {
	if p.packed == nil {
		return p.plain
	}
	b, err := io.ReadAll(flate.NewReader(bytes.NewReader(p.packed)))
	if err != nil {
		panic("keeper: what it has packed itself can't be unpacked; its memory is damaged: " + err.Error())
	}
	return strings.Split(strings.TrimSuffix(string(b), "\x00"), "\x00")
}
