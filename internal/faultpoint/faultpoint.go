// Package faultpoint names the places between two numbered steps of a run at which a crash must lose nothing, so that the fault suite can
// end a process at exactly one of them. The programs that ship are built without the tag faultpoints: there Reached is empty, and the
// compiler leaves nothing of it.
//
// In a program that was built with the tag, LASTMILE_FAULTPOINT=NAME[:N[:ACTION]] in the environment says what happens where the process gets to NAME for the
// Nth time (the first where N is left out): it kills itself, or with the action stop, stops as by SIGSTOP, until somebody continues it.
// Likewise Wall is the machine's clock in programs that ship, and with the tag it can be set while nothing else of the machine is.
package faultpoint

// The places, in the order in which one run passes them. Each is named after what has just been done.
const (
	SlotEntered  = "schedule.entered" // a slot is in the ledger, nobody has been asked to run it
	SlotOrdered  = "schedule.ordered" // its job is on the bus
	CursorMoved  = "schedule.cursor"  // the region's cursor is past it
	VerdictDone  = "verdict.written"  // a minute has been closed on the bus, not yet in the ledger
	SnapshotTemp = "snapshot.temp"    // a snapshot is whole and synced under a temporary name
	SnapshotDone = "snapshot.renamed" // it has its name
	JobTaken     = "worker.taken"     // a probe has a job
	RunClaimed   = "worker.claimed"   // it is on the probe's disk that the run may have begun
	RunEnded     = "worker.ran"       // the target has been asked, the result is in memory only
	ResultStored = "worker.stored"    // the result is on the probe's disk
	JobDone      = "worker.acked"     // the job is acknowledged
	ResultSent   = "worker.published" // the hub has the result on its disk
	ResultGone   = "worker.removed"   // the probe's disk has forgotten it
	FileWritten  = "spool.written"    // a claim or result is in a temporary file, not synced
	FileSynced   = "spool.synced"     // that is synced
	FileRenamed  = "spool.renamed"    // it has its name, its folder is not synced
	FolderSynced = "spool.folder"     // that too
	SelfOrdered  = "autonomy.ordered" // a probe on its own has decided to run a slot, nothing says so yet
	PlanStored   = "autonomy.plan"    // a probe has a new plan on its disk
)

// Names lists all places: the suite ends a process at each of them.
func Names() []string {
	return []string{
		SlotEntered, SlotOrdered, CursorMoved, VerdictDone, SnapshotTemp, SnapshotDone, JobTaken, RunClaimed, RunEnded, ResultStored, JobDone,
		ResultSent, ResultGone, FileWritten, FileSynced, FileRenamed, FolderSynced, SelfOrdered, PlanStored,
	}
}
