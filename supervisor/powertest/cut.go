package powertest

import (
	"fmt"
	"math/rand/v2"
	"slices"
)

// Record is what was done to a disk, in order, from a state that was safe.
type Record struct {
	start image
	ops   []op
}

// Len is the number of operations.
func (r *Record) Len() int { return len(r.ops) }

// Said lists what had been said before operation at.
func (r *Record) Said(at int) []string {
	var said []string
	for _, o := range r.ops[:at] {
		if o.kind == opSay {
			said = append(said, o.name)
		}
	}
	return said
}

// Tree is a file system as a cut left it.
type Tree struct {
	im  image
	how string
}

// String says how the cut was drawn.
func (t *Tree) String() string { return t.how }

// cut draws one state.
type cut struct {
	*rand.Rand

	ops     []op
	names   float64 // how likely an unsynced operation on names is kept
	ordered bool    // ... and with it all before it
	data    float64 // how likely an unsynced operation on data or attributes is kept
	torn    bool    // sectors differ within a block
	synced  []bool  // by op
}

// Cut makes a state that a power cut just before operation at may leave. The same seed makes the same state.
func (r *Record) Cut(at int, seed uint64) *Tree {
	c := &cut{Rand: rand.New(rand.NewPCG(seed, uint64(at))), ops: r.ops[:at]}
	how := c.draw()
	c.settle()
	im := r.start.clone()
	c.makeAll(im)
	c.cutNames(im)
	for id, n := range im {
		c.cutFile(id, n)
	}
	return &Tree{im, fmt.Sprintf("cut before operation %d of %d, seed %d: %s", at, len(r.ops), seed, how)}
}

// draw chooses what kind of cut it is to be.
func (c *cut) draw() string {
	switch n := c.IntN(10); {
	case n == 0:
		c.names, c.data = 1, 1
		return "all kept"
	case n == 1:
		return "all unsynced lost"
	case n == 2:
		c.data = 1
		return "unsynced names lost, data kept"
	case n == 3:
		c.names, c.data, c.torn = 1, c.Float64(), true
		return fmt.Sprintf("names kept, data %.2f torn", c.data)
	default:
		c.names, c.data = c.Float64(), c.Float64()
		c.ordered, c.torn = c.IntN(2) == 0, c.IntN(2) == 0
		return fmt.Sprintf("a mixture: names %.2f (in order: %v), data %.2f (torn: %v)", c.names, c.ordered, c.data, c.torn)
	}
}

// settle finds the operations that a sync has made safe.
func (c *cut) settle() {
	c.synced = make([]bool, len(c.ops))
	type half struct{ dir, dir2 bool } // of a rename, which directories were synced
	halves := map[int]half{}
	byFile, byFolder := map[uint64][]int{}, map[uint64][]int{}
	for i, o := range c.ops {
		switch {
		case o.onNames():
			byFolder[o.dir] = append(byFolder[o.dir], i)
			if two(o) {
				byFolder[o.dir2] = append(byFolder[o.dir2], i)
			}
		case o.onData(), o.onAttrs():
			byFile[o.id] = append(byFile[o.id], i)
		case o.kind == opSyncFile, o.kind == opSyncFolder:
			var rest []int
			for _, j := range byFile[o.id] {
				if c.synced[j] = !c.ops[j].onAttrs() || o.size == 0; !c.synced[j] {
					rest = append(rest, j)
				}
			}
			byFile[o.id] = rest
			for _, j := range byFolder[o.id] {
				h := halves[j]
				h.dir, h.dir2 = h.dir || c.ops[j].dir == o.id, h.dir2 || c.ops[j].dir2 == o.id
				halves[j] = h
				c.synced[j] = h.dir && (h.dir2 || !two(c.ops[j]))
			}
			delete(byFolder, o.id)
		case o.kind == opSyncAll:
			for j := range c.synced[:i] {
				c.synced[j] = true
			}
			clear(byFile)
			clear(byFolder)
		}
	}
}

// two tells whether an operation is on names of two directories.
func two(o op) bool { return (o.kind == opRename || o.kind == opExchange) && o.dir != o.dir2 }

// makeAll makes every file, so far without a name.
func (c *cut) makeAll(im image) {
	for _, o := range c.ops {
		if o.kind == opMake {
			unnamed := image{o.dir: {names: map[string]uint64{}}}
			unnamed.apply(o)
			im[o.id] = unnamed[o.id]
		}
	}
}

type nameKey struct {
	dir  uint64
	name string
}

func (o op) keys() []nameKey {
	k := []nameKey{{o.dir, o.name}}
	if o.kind == opRename || o.kind == opExchange {
		k = append(k, nameKey{o.dir2, o.name2})
	}
	return k
}

// cutNames draws which operations on names are kept. Those on the same name keep their order: one that is kept keeps those before it.
func (c *cut) cutNames(im image) {
	kept := make([]bool, len(c.ops))
	last := -1
	for i, o := range c.ops {
		if !o.onNames() {
			continue
		}
		if kept[i] = c.synced[i] || c.Float64() < c.names; kept[i] && (c.synced[i] || c.IntN(8) == 0) {
			last = i
		}
	}
	needed := map[nameKey]bool{}
	emptied := map[uint64]bool{} // directories whose removal is kept: so is that of what was in them
	for i := len(c.ops) - 1; i >= 0; i-- {
		o := c.ops[i]
		if !o.onNames() {
			continue
		}
		if c.ordered && !c.synced[i] {
			kept[i] = i <= last
		}
		if emptied[o.dir] || emptied[o.dir2] || slices.ContainsFunc(o.keys(), func(k nameKey) bool { return needed[k] }) {
			kept[i] = true
		}
		if kept[i] {
			for _, k := range o.keys() {
				needed[k] = true
			}
			if o.kind == opRemove && o.id != 0 {
				emptied[o.id] = true
			}
		}
	}
	for i, o := range c.ops {
		if kept[i] && o.onNames() {
			im.name(o)
		}
	}
}

// cutFile draws a file's data, length and attributes.
func (c *cut) cutFile(id uint64, n *node) {
	var data, about []op
	for i, o := range c.ops {
		switch {
		case o.id != id || !o.onData() && !o.onAttrs():
		case c.synced[i] && o.onData() && len(data) == 0:
			n.data = changed(n.data, o, nil)
		case c.synced[i] && o.onAttrs() && len(about) == 0:
			n.describe(o)
		case o.onData():
			data = append(data, o)
		default:
			about = append(about, o)
		}
	}
	for _, o := range about[:c.version(len(about))] {
		n.describe(o)
	}
	if len(data) == 0 {
		return
	}
	length, size := int64(len(n.data)), c.version(len(data))
	blocks, sectors := map[int64]int{}, map[int64]int{}
	for i, o := range data {
		n.data = changed(n.data, o, func(at int64) bool {
			if c.torn {
				return i < c.versionOf(sectors, at/sector, len(data))
			}
			return i < c.versionOf(blocks, at/blockSize, len(data))
		})
		if i < size {
			length = lengthAfter(length, o)
		}
	}
	for int64(len(n.data)) < length {
		n.data = append(n.data, 0)
	}
	n.data = n.data[:length]
}

func lengthAfter(length int64, o op) int64 {
	switch o.kind {
	case opWrite:
		return max(length, o.off+int64(len(o.data)))
	case opSize:
		return o.off
	default:
		return length
	}
}

// version draws how many of n operations reached the disk, from the first on.
func (c *cut) version(n int) int {
	switch {
	case c.data == 0:
		return 0
	case c.data == 1 || c.Float64() < c.data/2:
		return n
	case c.Float64() < c.data:
		return c.IntN(n + 1)
	}
	return 0
}

// versionOf draws once for each place.
func (c *cut) versionOf(drawn map[int64]int, place int64, n int) int {
	v, ok := drawn[place]
	if !ok {
		v = c.version(n)
		drawn[place] = v
	}
	return v
}
