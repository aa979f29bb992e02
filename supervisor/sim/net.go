package sim

// message is something on its way. It runs when it arrives.
type message struct {
	kind     string
	from, to *host // to: nil is whoever leads on arrival
	arrive   func()
}

// send puts a message on the wire: it may be lost, doubled, and overtaken.
func (w *World) send(m *message) {
	if !w.calm {
		switch {
		case w.chance(0.06):
			w.say("lost: %s", m.kind)
			return
		case w.chance(0.05):
			w.net = append(w.net, m)
		}
	}
	w.net = append(w.net, m)
}

// deliver lets some messages arrive, in any order. What is for or from a host that
// is cut off or down stays on its way, and may be lost.
func (w *World) deliver() {
	waiting := w.net
	w.net = nil
	if !w.calm {
		w.rng.Shuffle(len(waiting), func(i, j int) { waiting[i], waiting[j] = waiting[j], waiting[i] })
	}
	for _, m := range waiting {
		switch to := w.receiver(m); {
		case to == nil || !to.talks() || m.from != nil && m.from.cut:
			if w.calm && m.to != nil || !w.calm && w.chance(0.3) {
				continue
			}
			w.net = append(w.net, m)
		case w.calm || w.chance(0.7) && (!w.slow || w.chance(0.2)):
			m.arrive()
		default:
			w.net = append(w.net, m)
		}
	}
}

func (w *World) receiver(m *message) *host {
	if m.to != nil {
		return m.to
	}
	if w.lead == nil {
		return nil
	}
	return w.lead.host
}
