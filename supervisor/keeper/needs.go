package keeper

import "fmt"

// needs is the lowest protocol whose keepers carry a request out as it is meant; an older one would leave parts of it out
// without a word. What a version brings anew is listed here.
func (q *request) needs() int {
	return MinProtocol
}

// suits tells whether a keeper of that protocol can be asked.
func (q *request) suits(protocol int) error {
	if n := q.needs(); n > protocol {
		return fmt.Errorf("%w: the keeper speaks version %d, this call needs %d: upgrade it (supctl node upgrade-keeper NODE)",
			ErrProtocol, protocol, n)
	}
	return nil
}
