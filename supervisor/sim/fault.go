package sim

import (
	"slices"
	"time"
)

// fault does something bad now and then, or takes it back.
func (w *World) fault() {
	h := w.hosts[w.rng.IntN(len(w.hosts))]
	type act struct {
		p  float64
		do func()
	}
	for _, a := range []act{
		{0.010, func() { w.powerOff(h) }},
		{0.06 / w.rough, func() { w.powerOn(h) }},
		{0.012, func() { w.killDaemon(h) }},
		{0.15 / w.rough, func() { w.startDaemon(h) }},
		{0.010, func() { w.cut(h, true) }},
		{0.05 / w.rough, func() { w.cut(h, false) }},
		{0.008, func() { w.pause(h, true) }},
		{0.10 / w.rough, func() { w.pause(h, false) }},
		{0.012, func() { w.depose("an election") }},
		{0.02, h.saveSnapshot},
		{0.01, func() { h.skew = w.among(-2*time.Minute, 2*time.Minute) }},
	} {
		if w.chance(a.p * w.rough) {
			a.do()
		}
	}
	if w.disks != nil && w.disks.Float64() < 0.05*w.rough {
		w.unmount(h)
	}
	if w.disks != nil && w.disks.Float64() < 0.02 {
		h.mount()
	}
	if w.step < 3 {
		for _, h := range w.hosts {
			w.startDaemon(h)
		}
	}
}

func (w *World) cut(h *host, cut bool) {
	if h.cut != cut {
		h.cut = cut
		w.say("%s is cut off: %v", h.name, cut)
	}
}

func (w *World) pause(h *host, pause bool) {
	if h.agent != nil && h.paused != pause {
		h.paused = pause
		w.say("supd of %s is paused: %v", h.name, pause)
	}
}

// unmount takes directories away that no process runs on.
func (w *World) unmount(h *host) {
	used := map[*dir]bool{}
	for _, p := range h.procs {
		for _, d := range p.dirs {
			used[d] = true
		}
	}
	for _, uid := range sortedKeys(h.dirs) {
		if d := h.dirs[uid]; !used[d] && !d.trashed && d.used && w.disks.IntN(2) == 0 {
			d.away = true
			w.say("%s has lost sight of the directory %s of %s", h.name, uid, d.identity)
		}
	}
}

func (h *host) mount() {
	for _, uid := range sortedKeys(h.dirs) {
		if d := h.dirs[uid]; d.away {
			d.away, d.missed = false, false
			h.w.say("%s has the directory %s of %s again", h.name, uid, d.identity)
		}
	}
}

// settleDown ends all faults and gives every set a template that works.
func (w *World) settleDown() {
	w.say("the faults end")
	w.calm = true
	for _, h := range w.hosts {
		w.powerOn(h)
		w.cut(h, false)
		w.pause(h, false)
		w.startDaemon(h)
		h.mount()
		h.skew = 0
	}
	w.late = nil
	w.net = slices.DeleteFunc(w.net, func(m *message) bool { return m.to == nil && m.from == nil })
	w.elect()
	w.mend()
}
