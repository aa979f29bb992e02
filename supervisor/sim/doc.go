// Package sim is for tests only: a whole cluster in one goroutine, driven by a seed.
//
// A World holds a log, hosts that apply it at their own speeds (and start again from
// snapshot and tail), a leader that comes and goes, agents by the book, processes with
// lives of their own, directories, and operators that wish at random. Messages are
// lost, doubled, late and out of order; hosts lose power, are cut off, pause; clocks
// jump; commands of planners that lead no more arrive late. Then the faults end, every
// set gets a template that works, and all must come to be as wished; then nothing may
// move any more.
//
// Two things are real: state's Apply (with codec and snapshots) and plan's Make. A
// checker with a record of its own judges every step by the properties of
// architecture.md: S1-S14, and S15: a member that serves and is asked is stopped for a
// voluntary reason only if it agreed a moment before; and the rules of order and placement. Its record is made
// from entries accepted (take.go) and from what processes and directories did
// (watch.go); it asks the state under test only whether an entry is accepted, and for
// hashes and published names to compare.
//
// A failing seed prints how to replay it, and the last steps. The planted bugs of
// plant_test.go prove that the checker sees.
//
// # What it does not model
//
// Raft itself (a committed entry is in everybody's log in the same order; a deposed
// leader's entries commit before its successor's barrier or never). S1 has one exception: epochs that an operator
// vouched for (checker.vouched), on the host he vouched for. S7 has one: a restore may make a set smaller
// while members are sick, which no scale-down may; an operator must name them then (World.accept).
//
// # Bugs it found
//
// Seeds are of the walk as it was then.
//
//	seed       where               what
//	12, 23     plan update         a broken member low in the order was never replaced: a higher, healthy
//	                               one that waited for the budget was looked at first and ended the loop (S7)
//	26, 82     plan repair, Apply  a member of a scale-down under way that went down (deleted, host rebooted,
//	                               shutdown) was never started again, and blocked its own removal by its
//	                               illness (S7)
//	by eye     Apply resize        while members were leaving, every change of the set was gated by health: a
//	                               good template, or scaling up again, was refused while any was sick (S7)
//	by eye     Apply resize        a second scaling forgot who had been accepted as lost (S7)
//	18, 57     plan shutdown       a Parallel shutdown did not say what it waits for (S11)
//	257, 389   Apply stopMember    a stop for a shutdown (or a rollout) that was called off between plan and
//	                               commit was still carried out (S6, S10)
//	1542       Apply resize        who was accepted as lost in one scale-down, and stayed, was not asked
//	                               about in the next: it went through while the member was sick (S5)
//	2244       Apply stopMember    the stops of a Recreate, and those within a budget, were still carried
//	                               out when the strategy or the budget had changed before they committed (S8)
//	1779       plan update         a Recreate from a partition up swept along members below it that were
//	                               only to be restarted, past the budget (S8)
//	2          plan asks           who had been accepted as lost by a scale-down that is over, and stayed, was
//	                               stopped in a rollout though it had said no (S15)
//	11         plan update         Recreate stopped who serves on a node that did not answer without having asked it (S15)
//	2473       leader (the model)  a leader that answered heartbeats before its barrier let an agent on its
//	                               host act on the View it found on disk, and stop what ran (S13)
//	64         agent (the model)   a report whose answer was lost counted as never sent: when the member
//	                               turned back to what had last been acknowledged, nothing was said and
//	                               the log kept the wrong state for ever. What is not acknowledged is unknown (S7)
//	by eye     Apply restore       a restore made the record of an abandoned directory anew under its old
//	                               name, so that it could be used again (S3)
//	104        Apply addVolume     a directory that was dropped before anybody had made it stayed behind when its
//	                               member moved; named again, the member could never start (S7)
//	510        Apply takeOver      a directory that was added, and made by no start yet, kept its member from
//	                               another place after another of its directories was abandoned (S7)
//	363        Apply Over          a fenced member of a paused set, whose directory the definition had dropped, was
//	                               taken over without it, though it was to go on with its old revision (S9)
package sim
