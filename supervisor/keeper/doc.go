// Package keeper is the hands of supd on a host: the small process that is the parent of every member process, and the
// client of its socket.
//
// A keeper starts processes, waits for them, restarts them in place, stops them and gives each its log file. It knows
// nothing of clusters. It is a process of its own (Main, cmd/supd-keeper), so that supd may crash, hang or be upgraded and
// the members don't notice; and when the keeper itself dies they run on, and the next one takes them over from its records.
//
// Nothing is started twice. A start needs two witnesses: the process's cgroup is empty (without cgroups: its process
// group), and its lock file is free. The lock is an flock on an open file that every process of the member inherits under
// descriptor LockFD, so it is held as long as one of them lives, whoever is its parent.
//
// What is left where there are no cgroups: a program that closes LockFD and leaves its process group and session is not
// seen once its main process has died. What is found in no file and in no process is not known: with the epochs' files
// removed while no keeper runs, what this host has given up is forgotten, and only the cluster's log refuses it.
//
// # Goroutines
//
// All are started below Keeper.Run, which returns when all have ended.
//
//	name        fed by                          owns                            ends
//	reaper      SIGCHLD                         wait, for every child           with the loops' context, last
//	watcher     epoll: pidfds of adopted        the epoll descriptor            same
//	            processes, cgroup.events,
//	            notify sockets,
//	            pipes of members' output,
//	            inotify of quiet logs,
//	            and of the directory
//	lease       a timerfd                       that                            same
//	thread      one start that needs a view,    a thread of its own, thrown     with the fork; with a mount that
//	            a host name, umask, nice,       away afterwards                 hangs, which nobody can end
//	            capabilities or no_new_privs
//	hangups     SIGHUP                          an upgrade                      Run's context
//	accept      the socket                      the connections' wait group     when the socket is closed
//	connection  one client's calls              its connection                  client gone, or Run's context
//	present     one client hanging up during    nothing                         with the call
//	            List, Run, Exec
//	output      the pipe of a Run or            the bytes kept                  with it, or its hand-over
//	            check-state
//	pulse       a ticker                        what systemd is told            with the loops' context
//	rest        starts                          memory given back after them    same
//	task        the end of a child, a timer,    nothing; takes the member's     at its end, soon
//	            a notice of the watcher         lock, or an output's
//
// An upgrade makes all but the watcher and the lease stand still (gate): connections and accept park, tasks wait, the reaper reaps nobody.
// Whoever waits for long there ends the wait with errStill when gate.now does and parks with what is to go over (handedConn).
//
// There is none per member. Everything done to a member is done under its lock, disk writes and forks included; the table
// that List shows is a copy, so looking never waits for doing.
//
// # Files
//
//	DIR/keeper.sock, keeper.lock      made anew by the running keeper when they have gone, as are the next three
//	DIR/records/MEMBER@PROCESS.json   what was asked for; fsync'ed before it counts
//	DIR/records/MEMBER@PROCESS.life   pid, start time, last exit; of no meaning after a boot, not fsync'ed
//	DIR/epochs/MEMBER.json            the highest epoch given up; fsync'ed, never removed
//	DIR/lease.json                    the node's lease, while something lives by it; of no meaning after a boot
//	DIR/locks/MEMBER@PROCESS.lock     where Start names no lock file
//	DIR/notify/MEMBER@PROCESS         socket of a Start with Notify; a hash where that is too long for one
//	LOGDIR/PROCESS.log, .log.1 ... .5 of the present start and of earlier ones; bounded by holes at the head
//	LOGDIR/PROCESS.log.idx, ...       (time, offset) for Since; a help only
package keeper
