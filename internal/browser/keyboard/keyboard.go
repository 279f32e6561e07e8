// Package keyboard is a US keyboard: it turns the names of keys, and text, into the protocol's key events, and keeps what is held
// down. Keys are named as KeyboardEvent.key names them (Enter, a, ArrowLeft, Shift) or, where that says more, as KeyboardEvent.code
// does (KeyA, Digit1, NumpadEnter, ShiftRight).
package keyboard

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/chromedp/cdproto/input"
)

// Keyboard is one keyboard. The zero value has no key held down. It is not safe for concurrent use.
type Keyboard struct {
	modifiers int64
	held      map[string]bool // by code
}

// The modifiers, as the protocol numbers them.
const (
	alt   = 1
	ctrl  = 2
	meta  = 4
	shift = 8
)

// key is one key of the keyboard. shifted is what it is with shift held, "" = the same.
type key struct {
	code, key, shifted string
	number             int64 // Windows virtual key code
	shiftedNumber      int64 // 0 = the same
	text               string
	location           int64 // 1 left, 2 right, 3 keypad
}

// Modifiers returns the modifiers that are held down, as the protocol numbers them.
func (k *Keyboard) Modifiers() int64 { return k.modifiers }

// Down presses a key: what it types depends on the modifiers held down. It is an error where there is no such key.
func (k *Keyboard) Down(name string) (input.DispatchKeyEventParams, error) {
	pressed, err := find(name)
	if err != nil {
		return input.DispatchKeyEventParams{}, err
	}
	pressed = k.shift(pressed)
	k.modifiers |= modifier(pressed.key)
	event := k.event(pressed)
	event.Type = input.DispatchKeyEventTypeRawKeyDown
	if k.modifiers&^shift == 0 { // with any other modifier held it is a command, and types nothing
		event.Text, event.UnmodifiedText = pressed.text, pressed.text
	}
	if event.Text != "" {
		event.Type = input.DispatchKeyEventTypeKeyDown
	}
	event.AutoRepeat = new(k.held[pressed.code])
	if k.held == nil {
		k.held = map[string]bool{}
	}
	k.held[pressed.code] = true
	return event, nil
}

// Up releases a key. It is an error where there is no such key.
func (k *Keyboard) Up(name string) (input.DispatchKeyEventParams, error) {
	released, err := find(name)
	if err != nil {
		return input.DispatchKeyEventParams{}, err
	}
	released = k.shift(released)
	k.modifiers &^= modifier(released.key)
	delete(k.held, released.code)
	event := k.event(released)
	event.Type = input.DispatchKeyEventTypeKeyUp
	return event, nil
}

// Stroke is one character on its way into a field: a key that goes down and up or, where the keyboard has none, a text.
type Stroke struct {
	Down, Up input.DispatchKeyEventParams
	Text     string // "" = the key
}

// Type turns text into strokes. A line feed is the Enter key.
func (k *Keyboard) Type(text string) []Stroke {
	strokes := make([]Stroke, 0, len(text))
	for _, r := range strings.ReplaceAll(text, "\r\n", "\n") {
		c := string(r)
		if known, err := find(c); err != nil || known.code == "" {
			strokes = append(strokes, Stroke{Text: c})
			continue
		}
		down, _ := k.Down(c) // just found
		up, _ := k.Up(c)
		strokes = append(strokes, Stroke{Down: down, Up: up})
	}
	return strokes
}

// event is what both directions of a key have in common.
func (k *Keyboard) event(of key) input.DispatchKeyEventParams {
	return input.DispatchKeyEventParams{
		Modifiers: k.modifiers, Key: of.key, Code: of.code, WindowsVirtualKeyCode: of.number, Location: of.location,
		IsKeypad: new(of.location == 3),
	}
}

// shift returns the key as it is with the modifiers held down.
func (k *Keyboard) shift(of key) key {
	if k.modifiers&shift == 0 || of.shifted == "" {
		return of
	}
	of.key = of.shifted
	if of.shiftedNumber != 0 {
		of.number = of.shiftedNumber
	}
	if utf8.RuneCountInString(of.key) == 1 {
		of.text = of.key
	}
	return of
}

func modifier(name string) int64 {
	switch name {
	case "Alt":
		return alt
	case "Control":
		return ctrl
	case "Meta":
		return meta
	case "Shift":
		return shift
	}
	return 0
}

// find returns the key of a name. A single character that no key has is a key without a code, as on another keyboard.
func find(name string) (key, error) {
	if name == "\n" || name == "\r" {
		name = "Enter"
	}
	if found, ok := layout()[name]; ok {
		return found, nil
	}
	if utf8.RuneCountInString(name) == 1 {
		return key{key: name, text: name}, nil
	}
	return key{}, fmt.Errorf("got key %q, want one of a keyboard, such as Enter, a, ArrowLeft or Shift", name)
}
