package demosite

import (
	"hash/fnv"
	"strconv"
	"sync"
	"time"
)

// Bounds of what a region remembers.
const (
	maxOrders  = 4096
	maxPending = 4096
	// faultLag is how far a replica falls behind under [ReplicationLag], and
	// always the second one that answers in its turn under [BackwardReads].
	faultLag = 5 * time.Second
)

// money is an amount in euro cents.
type money int64

type item struct {
	ID       string `json:"id"`
	Quantity int    `json:"quantity"`
}

// order is immutable once committed, so that shards may share it.
type order struct {
	ID      string `json:"id"`
	State   string `json:"state"`
	Version int64  `json:"version"`
	Items   []item `json:"items"`
	Total   money  `json:"total_cents"`
	owner   user
}

type stock struct {
	ID       string `json:"id"`
	Quantity int    `json:"quantity"`
	Version  int64  `json:"version"`
}

// shard is the data as one region sees it.
type shard struct {
	orders map[string]order
	recent []string // order ids, oldest first, at most maxOrders
	stock  map[string]stock
}

func newShard(products []product) *shard {
	s := &shard{orders: make(map[string]order), stock: make(map[string]stock)}
	for _, p := range products {
		s.stock[p.ID] = stock{ID: p.ID, Quantity: p.Stock}
	}
	return s
}

func (s *shard) add(o order) {
	s.orders[o.ID] = o
	s.recent = append(s.recent, o.ID)
	if len(s.recent) > maxOrders {
		delete(s.orders, s.recent[0])
		s.recent = s.recent[1:]
	}
}

// change is one committed write.
type change struct {
	version   int64
	committed time.Time
	apply     func(*shard)
}

// follower applies the primary's changes in their order, each once it is as old
// as the lag.
type follower struct {
	*shard
	region  string
	pending []change
	laggard bool // always faultLag behind
}

// replicas are those of one region: the one that answers, and one that only
// does under [BackwardReads].
type replicas struct {
	near, far *follower
	reads     int // under that fault
}

// database is the write primary with one replica per other region. Replicas
// catch up when somebody looks, which nobody can tell from a background copy
// and which needs no goroutine.
type database struct {
	lag    time.Duration
	faults *Faults

	mu       sync.Mutex
	version  int64 // of the latest write
	primary  *shard
	replicas map[string]*replicas
}

func newDatabase(regions []string, products []product, lag time.Duration, faults *Faults) *database {
	db := &database{
		lag: lag, faults: faults,
		primary: newShard(products), replicas: make(map[string]*replicas),
	}
	for _, r := range regions[1:] {
		db.replicas[r] = &replicas{
			near: &follower{shard: newShard(products), region: r},
			far:  &follower{shard: newShard(products), region: r, laggard: true},
		}
	}
	return db
}

// lagOf spreads the lag by ±20 % from the region's name and the version, so
// that lags look alive and are the same in every run.
func (db *database) lagOf(r *follower, version int64) time.Duration {
	if r.laggard || db.faults.On(ReplicationLag, r.region) {
		return faultLag
	}
	h := fnv.New32a()
	_, _ = h.Write([]byte(r.region + strconv.FormatInt(version, 10)))
	return db.lag * time.Duration(80+h.Sum32()%41) / 100
}

// commit applies a change to the primary and queues it for the replicas; the
// caller holds the lock and has taken the version.
func (db *database) commit(apply func(*shard)) {
	apply(db.primary)
	for _, both := range db.replicas {
		for _, r := range []*follower{both.near, both.far} {
			r.pending = append(r.pending, change{db.version, time.Now(), apply})
			db.catchUp(r)
		}
	}
}

func (db *database) catchUp(r *follower) {
	now := time.Now()
	for len(r.pending) > 0 {
		c := r.pending[0]
		if len(r.pending) <= maxPending && now.Sub(c.committed) < db.lagOf(r, c.version) {
			return
		}
		if !db.faults.On(LostWrites, r.region) {
			c.apply(r.shard)
		}
		r.pending = r.pending[1:]
	}
}

// view returns what region sees now; the caller holds the lock.
func (db *database) view(region string) *shard {
	both, ok := db.replicas[region]
	if !ok {
		return db.primary
	}
	r := both.near
	if db.faults.On(BackwardReads, region) {
		if both.reads++; both.reads%2 == 0 {
			r = both.far
		}
	}
	db.catchUp(r)
	return r.shard
}

// placeOrder writes a paid order to the primary.
func (db *database) placeOrder(owner user, items []item, total money) order {
	db.mu.Lock()
	defer db.mu.Unlock()
	db.version++
	o := order{strconv.FormatInt(1000+db.version, 10), "paid", db.version, items, total, owner}
	db.commit(func(s *shard) { s.add(o) })
	return o
}

// removeOrder deletes owner's order on the primary and reports whether there was one.
func (db *database) removeOrder(owner user, id string) bool {
	db.mu.Lock()
	defer db.mu.Unlock()
	if o, ok := db.primary.orders[id]; !ok || o.owner != owner {
		return false
	}
	db.version++
	db.commit(func(s *shard) { delete(s.orders, id) })
	return true
}

// order reads owner's order as region sees it.
func (db *database) order(region string, owner user, id string) (order, bool) {
	db.mu.Lock()
	defer db.mu.Unlock()
	o, ok := db.view(region).orders[id]
	return o, ok && o.owner == owner
}

// setStock writes a product's stock to the primary.
func (db *database) setStock(id string, quantity int) stock {
	db.mu.Lock()
	defer db.mu.Unlock()
	db.version++
	is := stock{id, quantity, db.version}
	db.commit(func(s *shard) { s.stock[id] = is })
	return is
}

// stock reads a product's stock as region sees it.
func (db *database) stock(region, id string) stock {
	db.mu.Lock()
	defer db.mu.Unlock()
	return db.view(region).stock[id]
}
