package picture

import (
	"fmt"
	"log/slog"
	"testing"
	"time"
)

// A film has bounds, whatever the page does, and still covers the whole run.
func TestFilmIsBounded(t *testing.T) {
	for _, size := range []int{1 << 10, 30 << 10, 600 << 10} {
		t.Run(fmt.Sprintf("frames of %d bytes", size), func(t *testing.T) {
			f, start := NewFilm(slog.New(slog.DiscardHandler)), time.Now()
			f.Begin("home")
			for i := range 500 {
				if err := f.keep(make([]byte, size), start.Add(time.Duration(i)*time.Second), &sight{}); err != nil {
					t.Fatal(err)
				}
				if len(f.strip) > filmFrames || f.bytes > filmBytes && len(f.strip) > 1 {
					t.Fatalf("after %d frames: got %d of %d bytes, want at most %d and %d", i+1, len(f.strip), f.bytes, filmFrames, filmBytes)
				}
			}
			if last := f.strip[len(f.strip)-1].At.Sub(start); last != 499*time.Second {
				t.Errorf("got the last frame at %s, want that of the end", last)
			}
			if f.pace <= filmPace {
				t.Errorf("got a pace of %s, want a slower one", f.pace)
			}
		})
	}
}

// As a run goes on there may be more to cover: selectors that name what an earlier step extracted.
func TestFilmTakesTheLastMask(t *testing.T) {
	f, later := NewFilm(slog.New(slog.DiscardHandler)), &Mask{Selectors: [][]Part{{{"css", "#account-17"}}}}
	f.stop = func() {} // as if it were under way
	f.Start(Page{}, &Mask{})
	f.Start(Page{}, later)
	if f.covered() != later {
		t.Error("got the first mask, want the last one")
	}
}

func TestParse(t *testing.T) {
	for selector, want := range map[string]Part{
		"#a > b": {"css", "#a > b"}, "css/.x": {"css", ".x"}, "pierce/#y": {"pierce", "#y"}, "xpath///*[@id='z']": {"xpath", "//*[@id='z']"},
		"text/Pay now": {"text", "Pay now"}, `aria/Pay[role="button"]`: {"aria", "Pay"}, "aria/Card number": {"aria", "Card number"},
	} {
		if got := Parse(selector); got != want {
			t.Errorf("%s: got %+v, want %+v", selector, got, want)
		}
	}
}
