package cachestate

import (
	"encoding/json"
	"time"
)

// plain is Result without its methods.
type plain Result

// wire is the JSON form of a Result: the Age header counts in whole seconds, and an absent one is absent.
type wire struct {
	plain
	AgeSeconds *int64 `json:"age_seconds,omitempty"`
}

// MarshalJSON implements json.Marshaler.
func (r Result) MarshalJSON() ([]byte, error) {
	w := wire{plain: plain(r)}
	if r.HasAge {
		seconds := int64(r.Age / time.Second)
		w.AgeSeconds = &seconds
	}
	return json.Marshal(w)
}

// UnmarshalJSON implements json.Unmarshaler.
func (r *Result) UnmarshalJSON(data []byte) error {
	var w wire
	if err := json.Unmarshal(data, &w); err != nil {
		return err
	}
	*r = Result(w.plain)
	if w.AgeSeconds != nil {
		r.Age, r.HasAge = time.Duration(*w.AgeSeconds)*time.Second, true
	}
	return nil
}
