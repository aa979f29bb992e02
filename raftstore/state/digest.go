package state

import (
	"crypto/sha256"
	"encoding"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash"
	"io"
	"reflect"
	"sync"

	"supd/supervisor/spec"
)

// Digest is what the View comes to: the same on all nodes that applied the same log
// with versions of the same form, also after a snapshot. It walks the whole View; that
// is for a goroutine that nobody waits for.
func (v *View) Digest() spec.Digest {
	d := spec.Digest{Index: v.Index, Form: form(), Parts: map[string]string{}}
	var part string
	var sum hash.Hash
	done := func() {
		if sum != nil {
			d.Parts[part] = short(sum)
		}
	}
	v.each(func(table, key string, value any) {
		if table == "header" {
			table = "cluster"
		}
		if table != part {
			done()
			part, sum = table, sha256.New()
		}
		b, err := json.Marshal(value)
		if err != nil {
			panic("state: a View is always written: " + err.Error())
		}
		fmt.Fprintf(sum, "%q %d\n", key, len(b))
		sum.Write(b)
	})
	done()
	return d
}

// short is as much of a sum as tells accidents apart.
func short(h hash.Hash) string { return hex.EncodeToString(h.Sum(nil)[:8]) }

// form names how this version writes a View down. Versions whose objects have other
// fields write the same state in other words, so their digests must not be compared;
// nor are those of versions that know other commands.
var form = sync.OnceValue(func() string {
	h := sha256.New()
	fmt.Fprintln(h, snapshotVersion, OwnLevel())
	for _, t := range []reflect.Type{
		reflect.TypeFor[header](), reflect.TypeFor[Node](), reflect.TypeFor[Set](), reflect.TypeFor[Member](), reflect.TypeFor[Volume](),
		reflect.TypeFor[Service](), reflect.TypeFor[Program](), reflect.TypeFor[Revision](), reflect.TypeFor[Identity](),
		reflect.TypeFor[Event](), reflect.TypeFor[Account](),
	} {
		describe(h, t, map[reflect.Type]bool{})
	}
	return short(h)
})

// describe writes down what decides how encoding/json writes a type. within are the
// structs that it is part of.
func describe(w io.Writer, t reflect.Type, within map[reflect.Type]bool) {
	if t.Kind() == reflect.Pointer {
		fmt.Fprint(w, "*")
		t = t.Elem()
	}
	p := reflect.PointerTo(t)
	if p.Implements(reflect.TypeFor[json.Marshaler]()) || p.Implements(reflect.TypeFor[encoding.TextMarshaler]()) || within[t] {
		fmt.Fprintln(w, t)
		return
	}
	fmt.Fprintln(w, t.Kind())
	switch t.Kind() { //nolint:exhaustive // the others have no parts
	case reflect.Slice, reflect.Array:
		describe(w, t.Elem(), within)
	case reflect.Map:
		describe(w, t.Key(), within)
		describe(w, t.Elem(), within)
	case reflect.Struct:
		within[t] = true
		defer delete(within, t)
		for i := range t.NumField() {
			if f := t.Field(i); f.IsExported() {
				fmt.Fprintln(w, f.Name, f.Tag.Get("json"))
				describe(w, f.Type, within)
			}
		}
		fmt.Fprintln(w, "end")
	}
}
