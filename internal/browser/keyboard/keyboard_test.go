package keyboard

import (
	"strings"
	"testing"

	"github.com/chromedp/cdproto/input"
)

func TestKeys(t *testing.T) {
	for _, tt := range []struct {
		hold, key string // held down before, pressed
		want      input.DispatchKeyEventParams
	}{
		{"", "a", input.DispatchKeyEventParams{Key: "a", Code: "KeyA", WindowsVirtualKeyCode: 65, Text: "a"}},
		{"", "A", input.DispatchKeyEventParams{Key: "A", Code: "KeyA", WindowsVirtualKeyCode: 65, Text: "A"}},
		{"Shift", "KeyA", input.DispatchKeyEventParams{Key: "A", Code: "KeyA", WindowsVirtualKeyCode: 65, Text: "A", Modifiers: 8}},
		{"Control", "a", input.DispatchKeyEventParams{Key: "a", Code: "KeyA", WindowsVirtualKeyCode: 65, Modifiers: 2}},
		{"", "Enter", input.DispatchKeyEventParams{Key: "Enter", Code: "Enter", WindowsVirtualKeyCode: 13, Text: "\r"}},
		{"", "\n", input.DispatchKeyEventParams{Key: "Enter", Code: "Enter", WindowsVirtualKeyCode: 13, Text: "\r"}},
		{"", "NumpadEnter", input.DispatchKeyEventParams{Key: "Enter", Code: "NumpadEnter", WindowsVirtualKeyCode: 13, Text: "\r", Location: 3}},
		{"Shift", "Numpad7", input.DispatchKeyEventParams{Key: "7", Code: "Numpad7", WindowsVirtualKeyCode: 103, Text: "7", Location: 3, Modifiers: 8}},
		{"", "Home", input.DispatchKeyEventParams{Key: "Home", Code: "Home", WindowsVirtualKeyCode: 36}},
		{"", "Shift", input.DispatchKeyEventParams{Key: "Shift", Code: "ShiftLeft", WindowsVirtualKeyCode: 16, Location: 1, Modifiers: 8}},
		{"", "AltRight", input.DispatchKeyEventParams{Key: "Alt", Code: "AltRight", WindowsVirtualKeyCode: 18, Location: 2, Modifiers: 1}},
		{"", "!", input.DispatchKeyEventParams{Key: "!", Code: "Digit1", WindowsVirtualKeyCode: 49, Text: "!"}},
		{"", "`", input.DispatchKeyEventParams{Key: "`", Code: "Backquote", WindowsVirtualKeyCode: 192, Text: "`"}},
		{"", `\`, input.DispatchKeyEventParams{Key: `\`, Code: "Backslash", WindowsVirtualKeyCode: 220, Text: `\`}},
		{"", "*", input.DispatchKeyEventParams{Key: "*", Code: "Digit8", WindowsVirtualKeyCode: 56, Text: "*"}},
		{"", " ", input.DispatchKeyEventParams{Key: " ", Code: "Space", WindowsVirtualKeyCode: 32, Text: " "}},
		{"", "F12", input.DispatchKeyEventParams{Key: "F12", Code: "F12", WindowsVirtualKeyCode: 123}},
		{"", "é", input.DispatchKeyEventParams{Key: "é", Text: "é"}},
	} {
		var k Keyboard
		if tt.hold != "" {
			if _, err := k.Down(tt.hold); err != nil {
				t.Fatal(err)
			}
		}
		got, err := k.Down(tt.key)
		if err != nil {
			t.Errorf("%q: %v", tt.key, err)
			continue
		}
		wantType := input.DispatchKeyEventTypeRawKeyDown
		if tt.want.Text != "" {
			wantType = input.DispatchKeyEventTypeKeyDown
		}
		if got.Key != tt.want.Key || got.Code != tt.want.Code || got.WindowsVirtualKeyCode != tt.want.WindowsVirtualKeyCode ||
			got.Text != tt.want.Text || got.Modifiers != tt.want.Modifiers || got.Location != tt.want.Location || got.Type != wantType {
			t.Errorf("%s+%q: got %+v, want %+v", tt.hold, tt.key, got, tt.want)
		}
	}
}

func TestHeld(t *testing.T) {
	var k Keyboard
	press := func(name string) input.DispatchKeyEventParams {
		event, err := k.Down(name)
		if err != nil {
			t.Fatal(err)
		}
		return event
	}
	if press("Shift"); k.Modifiers() != 8 {
		t.Errorf("modifiers: got %d, want shift", k.Modifiers())
	}
	if first, second := press("x"), press("x"); *first.AutoRepeat || !*second.AutoRepeat {
		t.Errorf("repeat: got %v and %v, want only the second to be one", *first.AutoRepeat, *second.AutoRepeat)
	}
	up, err := k.Up("Shift")
	if err != nil || up.Type != input.DispatchKeyEventTypeKeyUp || k.Modifiers() != 0 {
		t.Errorf("release: got %+v, %v, modifiers %d, want none", up, err, k.Modifiers())
	}
	if _, err := k.Down("Nokey"); err == nil || !strings.Contains(err.Error(), `"Nokey"`) {
		t.Errorf("unknown key: got %v, want an error that names it", err)
	}
}

func TestType(t *testing.T) {
	var k Keyboard
	var got []string
	for _, s := range k.Type("aB\r\n€") {
		got = append(got, s.Down.Code+s.Text)
	}
	if want := "KeyA KeyB Enter €"; strings.Join(got, " ") != want {
		t.Errorf("strokes: got %v, want %s", got, want)
	}
}

func TestLayout(t *testing.T) {
	for name, k := range layout() {
		if k.code == "" || k.key == "" || k.number == 0 || k.location < 0 || k.location > 3 {
			t.Errorf("%s: got %+v, want all of it", name, k)
		}
	}
	for c := rune(' '); c <= '~'; c++ {
		if k := layout()[string(c)]; k.text != string(c) {
			t.Errorf("%q: got %+v, want a key that types it", c, k)
		}
	}
}
