package spool

import (
	"testing"
	"testing/synctest"
	"time"

	"lastmile/internal/runs"
)

// A hub that lost its disk gets again what it acknowledged before; over restarts, and no longer than for a day.
func TestResend(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := newSea()
		restart := func() *Spool {
			s, err := openOn(d, discard(), "/data/spool", Options{Reserve: -1})
			if err != nil {
				t.Fatal(err)
			}
			return s
		}
		s := restart()
		var noon time.Time // by when the first three were acknowledged
		for n := int64(1); n <= 6; n++ {
			put(t, s, result("a", n))
			if err := s.Remove(result("a", n).RunID); err != nil {
				t.Fatal(err)
			}
			if n == 3 {
				time.Sleep(time.Hour)
				noon = time.Now()
			}
		}
		if st := s.Stats(); st.Pending != 0 || st.Bytes != 0 || st.Sent != 6 || st.SentBytes != 6*block || s.Holds(result("a", 1).RunID) {
			t.Errorf("got %+v, want 6 that were sent, which count for nothing", st)
		}
		s = restart()
		if st := s.Stats(); st.Pending != 0 || st.Sent != 6 {
			t.Errorf("got %+v after a restart, want the same", st)
		}
		if n, err := s.Resend(noon); n != 3 || err != nil {
			t.Errorf("got %d, %v, want the 3 that were acknowledged before noon", n, err)
		}
		again := []runs.ID{result("a", 1).RunID, result("a", 2).RunID, result("a", 3).RunID}
		if st := s.Stats(); st.Pending != 3 || st.Sent != 3 || st.Resent != 3 || st.Bytes != 3*block {
			t.Errorf("got %+v, want 3 waiting again", st)
		}
		s = restart()
		wantIDs(t, drain(t, s), again...)
		if n, err := s.Resend(noon); n != 0 || err != nil {
			t.Errorf("got %d, %v, want nothing sent for the same time again", n, err)
		}
		put(t, s, result("a", 1)) // the same run again has one file, not two
		if n, err := s.Resend(time.Now().Add(time.Hour)); n != 5 || err != nil || s.Pending() != 6 {
			t.Errorf("got %d, %v and %d pending, want the other 5", n, err, s.Pending())
		}
		if drained := drain(t, s); len(drained) != 6 {
			t.Errorf("got %v, want all 6", drained)
		}
		time.Sleep(23 * time.Hour)
		put(t, s, result("b", 1))
		if st := s.Stats(); st.Sent != 6 {
			t.Errorf("got %+v after 23 h, want all 6", st)
		}
		time.Sleep(time.Hour)
		put(t, s, result("b", 2))
		if st := s.Stats(); st.Sent != 0 || st.SentBytes != 0 || st.SentDropped != 0 || st.Pending != 2 {
			t.Errorf("got %+v after a day, want what was sent gone", st)
		}
		if found, err := d.list(s.folder(sentFolder)); err != nil || len(found) != 0 {
			t.Errorf("got %v, %v, want no file", found, err)
		}
	})
}

func TestSentIsBounded(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		max  int64
		want int
	}{{2 * block, 2}, {-1, 0}} {
		dir := t.TempDir()
		s, err := Open(discard(), dir, Options{Reserve: -1, MaxSent: test.max})
		if err != nil {
			t.Fatal(err)
		}
		for n := int64(1); n <= 5; n++ {
			put(t, s, result("a", n))
			if err := s.Remove(result("a", n).RunID); err != nil {
				t.Fatal(err)
			}
		}
		if st := s.Stats(); st.Sent != test.want {
			t.Errorf("got %+v, want %d kept", st, test.want)
		}
		s.Close()
		again := open(t, dir)
		if n, err := again.Resend(time.Now().Add(time.Hour)); n != test.want || err != nil {
			t.Errorf("got %d, %v, want %d", n, err, test.want)
		}
		want := []runs.ID{result("a", 4).RunID, result("a", 5).RunID}
		wantIDs(t, drain(t, again), want[:test.want]...)
	}
}
