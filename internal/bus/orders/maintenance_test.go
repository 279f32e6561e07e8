package orders

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"lastmile/internal/runs"
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// window is one of two hours from noon.
func window(id string) runs.Maintenance {
	return runs.Maintenance{
		ID: id, Scenario: "shop", Region: "us", From: noon, To: noon.Add(2 * time.Hour), Why: "database: Umzug nach Übersee", By: "ana@ops", MadeAt: noon.Add(-time.Hour),
	}
}

func TestMaintenanceComesBackSorted(t *testing.T) {
	early, late, all := window("m-2"), window("m-1"), window("m-3")
	late.From = late.From.Add(time.Minute)
	all.Scenario, all.Region = "", ""
	packed, err := EncodeMaintenance([]runs.Maintenance{late, all, early})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := DecodeMaintenance(packed); err != nil || !reflect.DeepEqual(got, []runs.Maintenance{early, all, late}) {
		t.Errorf("got %+v, %v, want the three by their beginning", got, err)
	}
}

func TestUnusableMaintenance(t *testing.T) {
	for name, tc := range map[string]struct {
		spoil func(*runs.Maintenance)
		want  string
	}{
		"id":                  {func(m *runs.Maintenance) { m.ID = "m.1" }, "got id"},
		"scenario":            {func(m *runs.Maintenance) { m.Scenario = "*" }, "got scenario"},
		"region":              {func(m *runs.Maintenance) { m.Region = "u s" }, "got region"},
		"no length":           {func(m *runs.Maintenance) { m.To = m.From }, "want an end after the beginning"},
		"after the fact":      {func(m *runs.Maintenance) { m.MadeAt = m.From.Add(time.Second) }, "want no earlier than when it was made"},
		"for ever":            {func(m *runs.Maintenance) { m.To = m.From.Add(MaxMaintenanceSpan + time.Second) }, "want at most 2160h0m0s"},
		"no why":              {func(m *runs.Maintenance) { m.Why = "" }, "got why"},
		"why of two lines":    {func(m *runs.Maintenance) { m.Why = "a\nb" }, "got why"},
		"why with an escape":  {func(m *runs.Maintenance) { m.Why = "\x1b[2J" }, "got why"},
		"why that has no end": {func(m *runs.Maintenance) { m.Why = strings.Repeat("x", maxWhy+1) }, "got why"},
		"nobody":              {func(m *runs.Maintenance) { m.By = "" }, "got by"},
		"no text":             {func(m *runs.Maintenance) { m.By = "a\xff" }, "got by"},
		"twice":               {func(m *runs.Maintenance) { m.ID = "m-0" }, "twice"},
	} {
		m := window("m-1")
		tc.spoil(&m)
		list := []runs.Maintenance{window("m-0"), m}
		if _, err := EncodeMaintenance(list); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s, written: got %v, want an error with %q", name, err, tc.want)
		}
		packed, err := pack(windows{Schema: runs.Schema, Windows: list})
		if err != nil {
			t.Fatal(err)
		}
		if name == "no text" {
			continue // JSON has replaced what is no text
		}
		if _, err := DecodeMaintenance(packed); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s, read: got %v, want an error with %q", name, err, tc.want)
		}
	}
	if packed, err := pack(windows{Schema: 7}); err != nil {
		t.Fatal(err)
	} else if _, err := DecodeMaintenance(packed); err == nil || !strings.Contains(err.Error(), "got schema 7") {
		t.Errorf("another schema: got %v, want an error", err)
	}
	if _, err := DecodeMaintenance([]byte("{}")); err == nil {
		t.Error("not packed: got no error")
	}
}

// As many windows as there may be, with texts as long as they may be, fit into one message of a server as it comes.
func TestAThousandWindowsFitIntoAMessage(t *testing.T) {
	var list []runs.Maintenance
	for n := range runs.MaxMaintenance {
		m := window(fmt.Sprintf("m-%d", n))
		m.Why = strings.Repeat(fmt.Sprintf("%d, %x; ", n*7919, n*n*104729), 100)[:maxWhy]
		list = append(list, m)
	}
	packed, err := EncodeMaintenance(list)
	if err != nil {
		t.Fatal(err)
	}
	if most := 1<<20 - headroom; len(packed) > most {
		t.Errorf("got %d bytes, want at most %d", len(packed), most)
	}
	if _, err := EncodeMaintenance(append(list, window("one-more"))); err == nil || !strings.Contains(err.Error(), "got 1001, want at most 1000") {
		t.Errorf("one more: got %v, want an error", err)
	}
}

func TestWindowsAreKeptForThreeDays(t *testing.T) {
	list := []runs.Maintenance{window("m-1"), window("m-2")}
	list[1].To = list[1].To.Add(time.Minute)
	for after, want := range map[time.Duration]int{-time.Hour: 2, 72 * time.Hour: 2, 72*time.Hour + time.Second: 1, 73 * time.Hour: 0} {
		if got := KeptMaintenance(list, list[0].To.Add(after)); len(got) != want {
			t.Errorf("%s after the end: got %d windows kept, want %d", after, len(got), want)
		}
	}
	if len(list) != 2 || list[0].ID != "m-1" || list[1].ID != "m-2" {
		t.Errorf("got the caller's list changed: %+v", list)
	}
}

func FuzzDecodeMaintenance(f *testing.F) {
	body, err := json.Marshal(windows{Schema: runs.Schema, Windows: []runs.Maintenance{window("m-1")}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(body)
	f.Add([]byte(`{"schema":1,"windows":null}`))
	f.Add([]byte(`{"schema":1,"windows":[{"id":"a","from":"9999-12-31T23:59:59-23:59"}]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		if _, err := DecodeMaintenance(body); err == nil {
			t.Skip("it was packed already")
		}
		packed, err := pack(json.RawMessage(body))
		if err != nil {
			return // no JSON
		}
		got, err := DecodeMaintenance(packed)
		if err != nil {
			return
		}
		again, err := EncodeMaintenance(got)
		if err != nil {
			t.Fatalf("accepted %q, and cannot write it: %v", body, err)
		}
		if back, err := DecodeMaintenance(again); err != nil || len(back) != len(got) {
			t.Fatalf("accepted %q: got %v, %v when it was read again", body, back, err)
		}
	})
}
