package admission

import (
	"context"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	"lastmile/internal/runs"
)

// What browser and HTTP runs may take of the cores.
const (
	browserShare = 0.5
	httpShare    = 0.25
	httpWeight   = 0.1 // cores: measured while they lasted, 0.11 without an emulated link and 0.07 over one
)

// What a browser run is reckoned to need before one of its kind has ended, and the bounds of what is learnt.
const (
	firstWeight  = 1.0       // cores
	leastWeight  = 0.05      // cores
	firstMemory  = 600 << 20 // bytes
	leastMemory  = 100 << 20 // bytes
	memoryMargin = 1.3       // over the most that was used
)

// dueSoon is how long before its slot a resting run's share of the cores is kept free of runs that have no browser yet: about as long
// as those take to get ready.
const dueSoon = 2 * time.Second

// lookAgain is how often a run that waits for memory looks whether there is some: nobody tells.
const lookAgain = 500 * time.Millisecond

// Need says what a run will ask of the machine.
type Need struct {
	Key     string // browser runs with the same key cost about the same
	Browser bool
}

// NeedOf is what an assignment will ask for. The network is in it: over a slow one the same work takes less of a core, for longer.
func NeedOf(a *runs.Assignment) Need {
	s := &a.Scenario
	return Need{Key: fmt.Sprintf("%s %s %s %s", s.Name, s.Engine, s.Device, a.Network.Name), Browser: s.NeedsBrowser()}
}

// Room is what one machine has room for. All runs on the machine should share one: those of several probes in one process do. It is
// safe for concurrent use.
type Room struct {
	machine Machine
	cores   float64

	mu       sync.Mutex
	held     map[*Ticket]struct{}
	starting []*waiter // browser runs that have their browser and are due
	arriving []*waiter // browser runs that have none
	light    []*waiter // HTTP runs
	costs    map[string]cost
	refused  int64
	calm     chan struct{} // closed and replaced whenever something may have changed for Calm
}

// waiter is a run in a queue.
type waiter struct {
	ticket  *Ticket
	granted chan struct{}
}

// New returns the room that cores CPUs have for runs; 0 = as many as the machine leaves to this process.
func New(machine Machine, cores float64) *Room {
	if cores <= 0 {
		cores = machine.Cores()
	}
	return &Room{machine: machine, cores: cores, held: map[*Ticket]struct{}{}, costs: map[string]cost{}, calm: make(chan struct{})}
}

// State is what a room looks like from outside.
type State struct {
	Cores   float64 // that the process may use
	Bound   float64 // cores that browser runs may take together
	Busy    float64 // cores that runs have been given, HTTP runs included
	Waiting int     // runs that wait for room
	Refused int64   // runs that found none in time
}

// State returns how things stand.
func (r *Room) State() State {
	r.mu.Lock()
	defer r.mu.Unlock()
	return State{
		Cores: r.cores, Bound: browserShare * r.cores, Busy: r.taken(true) + r.taken(false),
		Waiting: len(r.starting) + len(r.arriving) + len(r.light), Refused: r.refused,
	}
}

// Calm returns when no browser run waits for room, or ctx ends: a probe should not ask for a run before, since another one may have
// room for it.
func (r *Room) Calm(ctx context.Context) {
	for {
		r.mu.Lock()
		waiting, changed := len(r.starting)+len(r.arriving), r.calm
		r.mu.Unlock()
		if waiting == 0 {
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

// Acquire waits until there is room for a run to get ready, browser and all, and returns its ticket, which the caller must Release.
// The error is a *runs.Fault, overloaded, where there was none by the time until, and ctx's where that ended before.
func (r *Room) Acquire(ctx context.Context, need Need, until time.Time) (*Ticket, error) {
	r.mu.Lock()
	t := &Ticket{room: r, need: need, weight: httpWeight}
	queue := &r.light
	if need.Browser {
		c := r.costs[need.Key]
		t.weight, t.memory = c.weightFor(r.cores), c.reserve()
		queue = &r.arriving
	}
	r.mu.Unlock()
	if err := r.wait(ctx, t, queue, until); err != nil {
		return nil, err
	}
	return t, nil
}

// wait queues a ticket until it is granted.
func (r *Room) wait(ctx context.Context, t *Ticket, queue *[]*waiter, until time.Time) error {
	began := time.Now()
	w := &waiter{ticket: t, granted: make(chan struct{})}
	r.mu.Lock()
	*queue = append(*queue, w)
	r.serve()
	r.mu.Unlock()
	late := time.NewTimer(time.Until(until))
	defer late.Stop()
	again := time.NewTicker(lookAgain)
	defer again.Stop()
	for {
		var err error
		select {
		case <-w.granted:
			t.waited += time.Since(began)
			return nil
		default:
		}
		select {
		case <-w.granted:
			continue
		case <-again.C:
			r.mu.Lock()
			r.serve()
			r.mu.Unlock()
			continue
		case <-late.C:
		case <-ctx.Done():
			err = ctx.Err()
		}
		if err, left := r.leave(w, queue, err); left {
			return err
		}
	}
}

// leave takes a waiter out of its queue; left=false where it has been granted meanwhile. The error is why: nil = it is too late, which
// becomes a fault that says what it waited for.
func (r *Room) leave(w *waiter, queue *[]*waiter, why error) (err error, left bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	at := slices.Index(*queue, w)
	if at < 0 {
		return nil, false
	}
	*queue = slices.Delete(*queue, at, at+1)
	if why == nil {
		r.refused++
		why = &runs.Fault{Class: runs.ClassOverloaded, Err: r.reason(w.ticket, at)}
	}
	r.serve()
	return why, true
}

// reason says what a ticket waited for in vain, behind so many others.
func (r *Room) reason(t *Ticket, before int) error {
	const what = "no room on this machine before the start window closed, behind %d others: "
	switch {
	case !r.coresFor(t):
		return fmt.Errorf(what+"got %.2f of %.2f cores taken by %d runs, want %.2f more",
			before, r.inTheWay(t), r.bound(t.need.Browser), r.working(t.need.Browser), t.weight)
	case !r.mayLaunch(t):
		return fmt.Errorf(what+"got other browsers starting, want at most %.0f at once", before, max(r.bound(true), 1))
	case !r.memoryFor(t):
		return fmt.Errorf(what+"got %.0f MiB of memory, want %.0f MiB",
			before, (r.machine.Available()-r.unused())/(1<<20), float64(t.memory)/(1<<20))
	}
	return fmt.Errorf(what+"got their turn first, want one", before)
}

// serve grants what there is room for, in each queue to the first only. The caller holds the lock.
func (r *Room) serve() {
	for _, queue := range []*[]*waiter{&r.starting, &r.arriving, &r.light} {
		for len(*queue) > 0 && r.fits((*queue)[0].ticket) {
			w := (*queue)[0]
			*queue = slices.Delete(*queue, 0, 1)
			w.ticket.busy = r.taken(true) + r.taken(false)
			w.ticket.resting = false
			r.held[w.ticket] = struct{}{}
			close(w.granted)
		}
	}
	close(r.calm)
	r.calm = make(chan struct{})
}

// fits reports whether a ticket can be granted now. The caller holds the lock, as in all that follows.
func (r *Room) fits(t *Ticket) bool { return r.coresFor(t) && r.mayLaunch(t) && r.memoryFor(t) }

// coresFor reports whether there are cores for a run.
func (r *Room) coresFor(t *Ticket) bool {
	taken := r.inTheWay(t)
	return taken == 0 || taken+t.weight <= r.bound(t.need.Browser)+1e-9 // of adding up
}

// inTheWay sums the weights of those at work, and for a run that has no browser yet of those that will be soon.
func (r *Room) inTheWay(t *Ticket) float64 {
	if r.arrives(t) {
		return r.taken(true) + r.due()
	}
	return r.taken(t.need.Browser)
}

// arrives reports whether the run is one that needs a browser and has none.
func (r *Room) arrives(t *Ticket) bool {
	_, up := r.held[t]
	return t.need.Browser && !up
}

func (r *Room) bound(browser bool) float64 {
	if browser {
		return browserShare * r.cores
	}
	return httpShare * r.cores
}

// taken sums the weights of the runs of a kind that are at work.
func (r *Room) taken(browser bool) (sum float64) {
	for t := range r.held {
		if t.need.Browser == browser && !t.resting {
			sum += t.weight
		}
	}
	return sum
}

// working counts the runs of a kind that are at work.
func (r *Room) working(browser bool) (n int) {
	for t := range r.held {
		if t.need.Browser == browser && !t.resting {
			n++
		}
	}
	return n
}

// due sums the weights of the runs that rest and will be at work soon.
func (r *Room) due() (sum float64) {
	for t := range r.held {
		if t.resting && time.Until(t.slot) < dueSoon {
			sum += t.weight
		}
	}
	return sum
}

// mayLaunch reports whether one more run may get its browser: a launch takes a whole core, however little the run may take later.
func (r *Room) mayLaunch(t *Ticket) bool {
	if !r.arrives(t) {
		return true
	}
	launching := 0
	for held := range r.held {
		if held.need.Browser && !held.launched {
			launching++
		}
	}
	return launching == 0 || float64(launching+1) <= r.bound(true)
}

// memoryFor reports whether there is memory for a browser. The first one gets its chance whatever there is.
func (r *Room) memoryFor(t *Ticket) bool {
	if !r.arrives(t) {
		return true
	}
	others := false
	for held := range r.held {
		others = others || held.need.Browser
	}
	return !others || r.unused()+float64(t.memory) <= r.machine.Available()
}

// unused is what is reserved and not used yet, as far as one can tell: all of it while a browser starts, half of it after.
func (r *Room) unused() (bytes float64) {
	for t := range r.held {
		if t.launched {
			bytes += float64(t.memory) / 2
			continue
		}
		bytes += float64(t.memory)
	}
	return bytes
}

// cost is what the runs of one kind took so far.
type cost struct {
	weight float64 // cores, moving average; 0 = none has ended
	peak   int64   // bytes, the most that one used lately; 0 = not known
}

// learnRate is how much the newest run counts in the moving average.
const learnRate = 0.3

// learn takes up what a run cost. The peak falls slowly, so that one huge page does not stay for ever.
func (c cost) learn(weight float64, peak int64) cost {
	if c.weight == 0 {
		c.weight = weight
	} else {
		c.weight += learnRate * (weight - c.weight)
	}
	c.peak = max(peak, c.peak-c.peak/20)
	return c
}

// weightFor is how many of the cores a run of this kind is reckoned to take.
func (c cost) weightFor(cores float64) float64 {
	if c.weight == 0 {
		return min(firstWeight, cores)
	}
	return min(max(c.weight, leastWeight), cores)
}

// reserve is how many bytes a run of this kind is reckoned to need.
func (c cost) reserve() int64 {
	if c.peak == 0 {
		return firstMemory
	}
	return max(int64(math.Ceil(float64(c.peak)*memoryMargin)), leastMemory)
}
