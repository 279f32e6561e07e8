package tab

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"lastmile/internal/device"
	"lastmile/internal/scenario"
)

// says is what testdata/who.js says of a browser.
type says struct {
	Agent, Platform, Language, Zone, Brands, Mobile, Hint, Model, Full, Screen, Place string
}

// Whoever asks, in the page or on the wire, must be told of the same device in the same place.
func TestOneUserEverywhere(t *testing.T) {
	place := &scenario.Geolocation{Latitude: 46.95, Longitude: 7.45}
	for _, tt := range []struct {
		engine scenario.Engine
		device string
	}{{scenario.EngineShell, "galaxy-tab-s9"}, {scenario.EngineFull, "moto-g-power"}, {scenario.EngineShell, device.Desktop}} {
		t.Run(string(tt.engine)+" "+tt.device, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			o := open(t, &scenario.Scenario{Engine: tt.engine, Device: tt.device, Locale: "de-CH", Timezone: "Asia/Tokyo", Geolocation: place})
			o.navigate(s.url("localhost", "/who.html"))
			o.titled("done")
			told := map[string]says{}
			if err := json.Unmarshal([]byte(o.json(`told`)), &told); err != nil {
				t.Fatal(err)
			}
			d, _ := device.Named(tt.device)
			agent := told["page"].Agent
			for _, want := range []string{"(" + d.System + ")", "Chrome/", " Safari/"} {
				if !strings.Contains(agent, want) || strings.Contains(agent, "Headless") || strings.Contains(agent, "Mobile") != d.Mobile {
					t.Errorf("user agent: got %s, want one of %s", agent, d.Name)
				}
			}
			for _, where := range []string{"page", "frame", "other", "popup", "worker", "shared", "service"} {
				checkUser(t, where, told[where], says{
					Agent: agent, Platform: d.Platform, Language: "de-CH,de de-CH de-CH", Zone: "Asia/Tokyo", Brands: told["page"].Brands,
					Mobile: fmt.Sprint(d.Mobile), Hint: d.Hints.Platform, Full: "3", Place: "46.95 7.45 100",
					Model:  d.Hints.Model + " " + d.Hints.PlatformVersion + " " + d.Hints.FormFactor,
					Screen: fmt.Sprintf("%dx%d@%v %d", d.Width, d.Height, d.Scale, touchPoints(d)),
				}, tt.engine)
				checkWire(t, s, where, agent, d)
			}
			for _, script := range []string{"GET /who-worker.js", "GET /who.js"} {
				if h := s.headers(script); h.Get("User-Agent") != agent || !strings.HasPrefix(h.Get("Accept-Language"), "de-CH,de") {
					t.Errorf("%s: got %v, want the user's agent and language", script, h)
				}
			}
		})
	}
}

func touchPoints(d device.Device) int {
	if d.Touch {
		return 5
	}
	return 0
}

func checkUser(t *testing.T, where string, got, want says, engine scenario.Engine) {
	t.Helper()
	switch where {
	case "worker", "shared", "service": // which have neither place nor screen, and tell the platform of this machine
		want.Place, want.Screen, want.Platform = "", "", got.Platform
	case "other":
		if engine == scenario.EngineFull { // where it has a process of its own, which knows the screen of this machine only
			want.Screen = got.Screen
		}
	}
	if got != want {
		t.Errorf("%s:\ngot  %+v\nwant %+v", where, got, want)
	}
}

func checkWire(t *testing.T, s *site, where, agent string, d device.Device) {
	t.Helper()
	h := s.headers("GET /api/" + where)
	if got := h.Get("User-Agent"); got != agent {
		t.Errorf("%s on the wire: got user agent %q, want %q", where, got, agent)
	}
	if got := h.Get("Accept-Language"); got != "de-CH,de;q=0.9" {
		t.Errorf("%s on the wire: got language %q, want the user's", where, got)
	}
	switch where {
	case "worker", "shared", "service":
		return // Chromium sends no hints from there
	}
	mobile := map[bool]string{true: "?1", false: "?0"}[d.Mobile]
	if h.Get("Sec-Ch-Ua-Mobile") != mobile || h.Get("Sec-Ch-Ua-Platform") != `"`+d.Hints.Platform+`"` || !strings.Contains(h.Get("Sec-Ch-Ua"), `"Google Chrome";v="`) {
		t.Errorf("%s on the wire: got hints %v, want those of %s", where, h, d.Name)
	}
}

func TestUserOf(t *testing.T) {
	if _, err := UserOf(&scenario.Scenario{Device: "toaster"}); err == nil || !strings.Contains(err.Error(), "moto-g-power") {
		t.Errorf("toaster: got %v, want an error that lists the devices", err)
	}
	u, err := UserOf(&scenario.Scenario{})
	if err != nil || u.Languages() != "en-US,en" || u.Name != device.Desktop {
		t.Errorf("default: got %+v, %v, want an English desktop", u, err)
	}
	// As Chrome 144 and 156 send it.
	for version, want := range map[string]string{
		"144.0.7559.60":  "Not(A:Brand 8, Chromium 144, Google Chrome 144",
		"156.0.8078.79":  "Not:A-Brand 8, Chromium 156, Google Chrome 156",
		"not a version.": "Not A(Brand 8, Chromium not a version, Google Chrome not a version",
	} {
		var got []string
		for _, b := range u.userAgent(version).UserAgentMetadata.Brands {
			got = append(got, b.Brand+" "+b.Version)
		}
		if text := strings.Join(got, ", "); text != want {
			t.Errorf("brands of %s: got %s, want %s", version, text, want)
		}
	}
}
