package codec

// Tally counts by a key of which there are few: it takes less room than a map. The order is that in which the keys came.
type Tally[K comparable] []Tallied[K]

// Tallied is one of the counts.
type Tallied[K comparable] struct {
	Key K
	N   int64
}

// Add counts n more of a key.
func (t *Tally[K]) Add(key K, n int64) {
	for i := range *t {
		if (*t)[i].Key == key {
			(*t)[i].N += n
			return
		}
	}
	*t = append(*t, Tallied[K]{Key: key, N: n})
}

// Has reports whether the key has come.
func (t Tally[K]) Has(key K) bool {
	for i := range t {
		if t[i].Key == key {
			return true
		}
	}
	return false
}

// Counts returns the counts by key.
func (t Tally[K]) Counts() map[K]int64 {
	out := make(map[K]int64, len(t))
	for _, one := range t {
		out[one.Key] = one.N
	}
	return out
}
