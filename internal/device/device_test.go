package device

import (
	"strings"
	"testing"
)

func TestDevicesAgreeWithThemselves(t *testing.T) {
	names := Names()
	if d, ok := Named(""); !ok || d.Name != Desktop || names[0] != Desktop {
		t.Errorf("default: got %q, %v, want the desktop", d.Name, ok)
	}
	if _, ok := Named("toaster"); ok {
		t.Error("toaster: got a device, want none")
	}
	for _, name := range names {
		d, ok := Named(name)
		if !ok || d.Name != name {
			t.Errorf("%s: got %q, %v, want it", name, d.Name, ok)
		}
		android := d.Hints.Platform == "Android"
		phone := d.Hints.FormFactor == "Mobile"
		switch {
		case d.Width < 100 || d.Height < d.Width && android || d.Scale < 1 || d.Slowdown < 1:
			t.Errorf("%s: got %dx%d@%v, %v times slower, want a screen and a factor", name, d.Width, d.Height, d.Scale, d.Slowdown)
		case android != strings.Contains(d.System, "Android") || android != d.Touch || android != d.Handheld || android != strings.HasPrefix(d.Platform, "Linux arm"):
			t.Errorf("%s: got system %q, platform %q, touch %v, want them to agree with %s", name, d.System, d.Platform, d.Touch, d.Hints.Platform)
		case phone != d.Mobile || android != (d.Hints.Model != "" && d.Hints.PlatformVersion != ""):
			t.Errorf("%s: got mobile %v, %+v, want phones to be mobile, and models for Android alone", name, d.Mobile, d.Hints)
		}
	}
}
