package keeper

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// errSuperseded ends a keeper whose directory is another's.
var errSuperseded = errors.New("another keeper has taken the directory over: this one ends, members run on")

const (
	// homeSettles is how long after a change of its directory a keeper looks what has changed: much of it may come at once.
	homeSettles = 20 * time.Millisecond
	// homeRetry is the pause after it could not be put right; homeLooks is how often it is looked at where the host's limit of
	// inotify is reached.
	homeRetry = time.Second
	homeLooks = 10 * time.Second
)

// home is what the keeper has in its directory for others to find: its lock and its socket. Whoever tidies up there must
// neither make it deaf nor let a second one in beside it, so both are made anew when they have gone.
type home struct {
	path string

	mu     sync.Mutex // guards what follows
	lock   int        // descriptor of keeper.lock
	lockID fileID
	l      *net.UnixListener
	sockID fileID
	ended  bool // no new socket is made

	inotify int         // -1: none
	due     *time.Timer // of a look
}

// take takes the directory's lock, or goes on with one handed over.
func (h *home) take(given int) (err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.inotify, h.lock = -1, given
	if given < 0 {
		if h.lock, err = takeDirLock(h.path); err != nil {
			return err
		}
	}
	h.lockID, err = fileIDOfFD(h.lock)
	return err
}

func fileIDOfFD(fd int) (fileID, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return fileID{}, os.NewSyscallError("fstat", err)
	}
	return idOf(&st), nil
}

// mine makes sure that this is still the one keeper of its directory. It is asked before each start: with the name of its lock gone
// another keeper may be there, which would not know of the start. errSuperseded if there is.
func (h *home) mine(remake func() error) (changed bool, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	path := filepath.Join(h.path, "keeper.lock")
	at, err := fileIDOf(path)
	if err == nil && at == h.lockID {
		return false, nil
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return false, err
	}
	if err := remake(); err != nil {
		return true, fmt.Errorf("the keeper's directory has gone, and can't be made anew: %w", err)
	}
	fd, err := takeLock(path)
	if errors.Is(err, ErrLocked) {
		return true, fmt.Errorf("%w: %s", errSuperseded, h.path)
	}
	if err != nil {
		return true, err
	}
	id, err := fileIDOfFD(fd)
	if err != nil {
		return true, errors.Join(err, unix.Close(fd))
	}
	unix.Close(h.lock)
	h.lock, h.lockID = fd, id
	return true, nil
}

// open listens on the socket: the one handed over, if l is not nil.
func (h *home) open(l *net.UnixListener) (err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	path := files{h.path}.socket()
	if l == nil {
		if l, err = listenSocket(path); err != nil {
			return err
		}
	}
	h.l = l
	h.sockID, err = fileIDOf(path)
	if errors.Is(err, os.ErrNotExist) { // it has gone meanwhile: look sees to it
		err = nil
	}
	return err
}

func (h *home) listener() *net.UnixListener {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.l
}

func (h *home) lockFD() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.lock
}

// relisten makes the socket anew if its name has gone, or is of another file.
func (h *home) relisten() (bool, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	path := files{h.path}.socket()
	at, err := fileIDOf(path)
	if h.ended || h.l == nil || err == nil && at == h.sockID {
		return false, nil
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return false, err
	}
	l, err := listenSocket(path)
	if err != nil {
		return false, err
	}
	if at, err = fileIDOf(path); err != nil {
		return false, errors.Join(err, l.Close())
	}
	was := h.l
	h.l, h.sockID = l, at
	return true, was.Close() // accept goes on with the new one
}

// end closes the socket. Its name goes first, so that nobody connects to a keeper that doesn't answer; another's stays.
func (h *home) end() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ended = true
	if h.due != nil {
		h.due.Stop()
	}
	path := files{h.path}.socket()
	var err error
	if at, serr := fileIDOf(path); serr == nil && at == h.sockID {
		err = os.Remove(path)
	}
	return errors.Join(err, h.l.Close())
}

func (h *home) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	unix.Close(h.lock)
	if h.inotify >= 0 {
		unix.Close(h.inotify)
	}
}

// watchHome has the directory looked at when something goes from there.
func (k *Keeper) watchHome() {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		k.log.Warn("the keeper's directory can't be watched, and is looked at from time to time", "err", err)
		k.lookHome(homeLooks)
		return
	}
	k.home.mu.Lock()
	k.home.inotify = fd
	k.home.mu.Unlock()
	k.hearHome()
	k.lookHome(0) // what has gone before
}

// hearHome waits for the next change.
func (k *Keeper) hearHome() {
	fd := k.home.inotify
	_, err := k.watch.add(fd, unix.EPOLLIN, func() {
		var b [4096]byte
		for n := 1; n > 0; { // what they say is looked up on disk
			n, _ = unix.Read(fd, b[:])
		}
		k.lookHome(homeSettles)
		k.hearHome()
	})
	if err != nil {
		k.log.Warn("the keeper's directory can't be watched any more", "err", err)
	}
}

// lookHome looks at the directory soon, once.
func (k *Keeper) lookHome(in time.Duration) {
	k.home.mu.Lock()
	defer k.home.mu.Unlock()
	if k.home.ended {
		return
	}
	if k.home.due != nil {
		k.home.due.Stop()
	}
	k.home.due = time.AfterFunc(in, func() { k.task(k.tidyHome) })
}

// mustBeMine is asked with a member's lock held, before it is started.
func (k *Keeper) mustBeMine() error {
	changed, err := k.home.mine(k.files.make)
	if changed {
		k.lookHome(homeSettles)
	}
	if err != nil {
		return fmt.Errorf("%w: nothing is started: %w", ErrBusy, err)
	}
	return nil
}

// tidyHome makes anew what has gone from the directory: the lock, the socket, and what is in memory of the records and epochs.
func (k *Keeper) tidyHome() {
	if _, err := k.home.mine(k.files.make); errors.Is(err, errSuperseded) {
		if len(k.failed) == 0 { // else it ends already
			k.failed <- err
		}
		return
	} else if err != nil {
		k.log.Error("cannot put the keeper's directory right", "err", err)
		k.lookHome(homeRetry)
		return
	}
	err := k.files.make()
	anew, lerr := k.home.relisten()
	if anew {
		k.log.Warn("the socket had gone, and is made anew", "path", k.files.socket())
	}
	err = errors.Join(err, lerr, k.rewrite(), k.watchDirs())
	if err != nil {
		k.log.Error("cannot put the keeper's directory right", "err", err)
		k.lookHome(homeRetry)
	}
}

// watchDirs watches the directories that are there now. Where the limit of watches is reached, it is looked from time to time.
func (k *Keeper) watchDirs() error {
	fd := k.home.inotify
	if fd < 0 {
		k.lookHome(homeLooks)
		return nil
	}
	const gone = unix.IN_DELETE | unix.IN_DELETE_SELF | unix.IN_MOVE_SELF | unix.IN_ONLYDIR
	for dir, events := range map[string]uint32{
		k.opts.Dir:        gone | unix.IN_MOVED_FROM | unix.IN_MOVED_TO,
		k.files.records(): gone,
		k.files.epochs():  gone,
	} {
		_, err := unix.InotifyAddWatch(fd, dir, events)
		if errors.Is(err, unix.ENOSPC) {
			k.lookHome(homeLooks)
			return nil
		}
		if err != nil {
			return &os.PathError{Op: "watch", Path: dir, Err: err}
		}
	}
	return nil
}

// rewrite writes down again what has gone from the disk. What can't be read stays as it is.
func (k *Keeper) rewrite() error {
	k.mu.Lock()
	members := make([]*member, 0, len(k.members))
	for _, m := range k.members {
		members = append(members, m)
	}
	k.mu.Unlock()
	var errs []error
	for _, m := range members {
		m.mu.Lock()
		errs = append(errs, m.rewrite(k))
		m.mu.Unlock()
	}
	return errors.Join(errs...)
}

func (m *member) rewrite(k *Keeper) error {
	var errs []error
	if m.floor > 0 && m.floorErr == nil && missing(k.files.epoch(m.name)) {
		k.log.Warn("the note of epochs given up had gone, and is written anew", "member", m.name)
		errs = append(errs, m.saveFloor(k, m.floor))
	}
	for _, p := range m.procs {
		if p.bad != nil || p.start.Epoch == 0 {
			continue
		}
		if missing(k.files.record(p.key)) {
			k.log.Warn("a record had gone, and is written anew", "member", m.name, "process", p.key.process)
			errs = append(errs, p.save())
		}
		if missing(k.files.life(p.key)) {
			p.note()
		}
	}
	return errors.Join(errs...)
}

func missing(path string) bool {
	_, err := os.Lstat(path)
	return errors.Is(err, os.ErrNotExist)
}

func (m *member) saveFloor(k *Keeper, epoch uint64) error {
	if err := writeSynced(k.files.epoch(m.name), &giveUp{Version: firstVersion, Member: m.name, Epoch: epoch}); err != nil {
		return fmt.Errorf("cannot write down epoch %d of %s as given up: %w", epoch, m.name, err)
	}
	return nil
}
