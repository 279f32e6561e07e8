package spool

import (
	"cmp"
	"container/heap"
	"slices"
	"time"

	"lastmile/internal/runs"
)

// pending is a result that waits.
type pending struct {
	id    runs.ID
	slot  int64 // of the id, in Unix seconds
	size  int64 // on disk
	index int   // in the queue
}

// queue has the oldest slot first, and of one slot the runs by name. It is a heap.
type queue []*pending

func (q queue) Len() int { return len(q) }
func (q queue) Less(i, j int) bool {
	return cmp.Or(cmp.Compare(q[i].slot, q[j].slot), cmp.Compare(q[i].id, q[j].id)) < 0
}
func (q queue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].index, q[j].index = i, j
}

// Push is for package heap.
func (q *queue) Push(x any) {
	p := x.(*pending)
	p.index = len(*q)
	*q = append(*q, p)
}

// Pop is for package heap.
func (q *queue) Pop() any {
	last := len(*q) - 1
	p := (*q)[last]
	(*q)[last] = nil
	*q = (*q)[:last]
	return p
}

// results are the pending ones: the queue, and where each is in it.
type results struct {
	queue queue
	byID  map[runs.ID]*pending
	bytes int64
}

// put enters a result; one that is there takes its new size. The id has passed Parse.
func (r *results) put(id runs.ID, size int64) {
	if p, found := r.byID[id]; found {
		r.bytes += size - p.size
		p.size = size
		return
	}
	_, slot, _ := id.Parse()
	p := &pending{id: id, slot: slot.Unix(), size: size}
	r.byID[id] = p
	r.bytes += size
	heap.Push(&r.queue, p)
}

func (r *results) remove(id runs.ID) {
	p, found := r.byID[id]
	if !found {
		return
	}
	heap.Remove(&r.queue, p.index)
	delete(r.byID, id)
	r.bytes -= p.size
}

// shelf has the results that were acknowledged, in that order.
type shelf struct {
	order []sent
	has   map[runs.ID]bool
	bytes int64
}

// sent is a result that was acknowledged.
type sent struct {
	id   runs.ID
	at   time.Time
	size int64 // on disk
}

// add enters one, in the place of an earlier one of the same run: they are one file.
func (s *shelf) add(one sent) {
	if s.has[one.id] {
		s.take(func(old sent) bool { return old.id == one.id })
	}
	s.order = append(s.order, one)
	s.has[one.id] = true
	s.bytes += one.size
}

// first takes the one off that was acknowledged first.
func (s *shelf) first() sent {
	one := s.order[0]
	s.order = s.order[1:]
	delete(s.has, one.id)
	s.bytes -= one.size
	return one
}

// take takes those off that are asked for.
func (s *shelf) take(asked func(sent) bool) []sent {
	var taken []sent
	s.order = slices.DeleteFunc(s.order, func(one sent) bool {
		if !asked(one) {
			return false
		}
		taken = append(taken, one)
		delete(s.has, one.id)
		s.bytes -= one.size
		return true
	})
	return taken
}
