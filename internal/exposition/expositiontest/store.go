package expositiontest

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/url"
	"slices"
	"strconv"
	"testing"
	"time"
)

// Store is a running server that answers queries in PromQL.
type Store struct{ *server }

// Sample is one series of a query's answer.
type Sample struct {
	Labels map[string]string
	Value  float64 // never NaN
}

// EventuallyData asks the query until it returns at least one series, and fails the test where it does not in time.
func (s *Store) EventuallyData(t testing.TB, q Query) []Sample {
	t.Helper()
	var samples []Sample
	s.eventually(t, dataLimit, q.Panel+": "+q.Expr, func() error {
		var err error
		samples, err = s.data(q)
		return err
	})
	return samples
}

// EventuallyAll asks the queries until each has returned at least one series, and fails the test for those that have not in time.
func (s *Store) EventuallyAll(t testing.TB, queries []Query) {
	t.Helper()
	open := slices.Clone(queries)
	err := s.within(allLimit, func() error {
		var errs []error
		open = slices.DeleteFunc(open, func(q Query) bool {
			_, err := s.data(q)
			if err != nil {
				errs = append(errs, fmt.Errorf("%s: %s: %w", q.Panel, q.Expr, err))
			}
			return err == nil
		})
		return errors.Join(errs...)
	})
	if err != nil {
		t.Errorf("%s, after %s: %d of %d queries without data:\n%v", s.name, allLimit, len(open), len(queries), err)
	}
}

// HasData asks the query for as long as EventuallyData would, and reports whether it has returned any series.
func (s *Store) HasData(t testing.TB, q Query) bool {
	t.Helper()
	return s.within(dataLimit, func() error {
		_, err := s.data(q)
		return err
	}) == nil
}

// data asks the query, at this moment where a panel shows that, and for the last minute where it draws a line. No series is an error.
func (s *Store) data(q Query) ([]Sample, error) {
	path := "/api/v1/query?query=" + url.QueryEscape(q.Expr)
	if q.Range {
		now := time.Now().Unix()
		path = fmt.Sprintf("/api/v1/query_range?query=%s&start=%d&end=%d&step=5", url.QueryEscape(q.Expr), now-60, now)
	}
	samples, err := s.query(path)
	if err == nil && len(samples) == 0 {
		err = errors.New("got no series, want at least one")
	}
	return samples, err
}

// query asks a query, and returns the last sample of each series that has any. NaN is no sample: it is what a share of nothing is.
func (s *Store) query(path string) ([]Sample, error) {
	body, err := s.get(path)
	if err != nil {
		return nil, err
	}
	var answer struct {
		Data struct {
			Result []struct {
				Metric map[string]string `json:"metric"`
				Value  [2]any            `json:"value"`
				Values [][2]any          `json:"values"`
			} `json:"result"`
		} `json:"data"`
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return nil, fmt.Errorf("read answer of %s: %w", s.name, err)
	}
	var samples []Sample
	for _, r := range answer.Data.Result {
		values := r.Values
		if values == nil {
			values = [][2]any{r.Value}
		}
		last := math.NaN()
		for _, v := range values {
			text, _ := v[1].(string)
			value, err := strconv.ParseFloat(text, 64)
			if err != nil {
				return nil, fmt.Errorf("read answer of %s: got value %v, want a number as text", s.name, v[1])
			}
			if !math.IsNaN(value) {
				last = value
			}
		}
		if !math.IsNaN(last) {
			samples = append(samples, Sample{Labels: r.Metric, Value: last})
		}
	}
	return samples, nil
}

// Now asks for the value of an expression at this moment, once.
func (s *Store) Now(expr string) ([]Sample, error) {
	return s.query("/api/v1/query?query=" + url.QueryEscape(expr))
}
