package keyboard

import (
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"
)

// The keys, one after another: code, Windows virtual key code, key, and where it is another one the key and the number with shift; a
// location stands behind @. Of keys that are the same by name, such as both Enters, the last one is meant.
const keypadKeys = `
NumpadMultiply 106 * @3	NumpadAdd 107 + @3	NumpadSubtract 109 - @3	NumpadDivide 111 / @3	NumpadEnter 13 Enter @3
Numpad0 45 Insert 0 96 @3	Numpad1 35 End 1 97 @3	Numpad2 40 ArrowDown 2 98 @3	Numpad3 34 PageDown 3 99 @3
Numpad4 37 ArrowLeft 4 100 @3	Numpad5 12 Clear 5 101 @3	Numpad6 39 ArrowRight 6 102 @3
Numpad7 36 Home 7 103 @3	Numpad8 38 ArrowUp 8 104 @3	Numpad9 33 PageUp 9 105 @3	NumpadDecimal 46 Delete . 110 @3`

const otherKeys = `
Backspace 8 Backspace	Tab 9 Tab	Enter 13 Enter	Escape 27 Escape	Pause 19 Pause	CapsLock 20 CapsLock
PageUp 33 PageUp	PageDown 34 PageDown	End 35 End	Home 36 Home	Insert 45 Insert	Delete 46 Delete
ArrowLeft 37 ArrowLeft	ArrowUp 38 ArrowUp	ArrowRight 39 ArrowRight	ArrowDown 40 ArrowDown
PrintScreen 44 PrintScreen	ContextMenu 93 ContextMenu	NumLock 144 NumLock	ScrollLock 145 ScrollLock
Help 47 Help	Convert 28 Convert	NonConvert 29 NonConvert	AltGraph 225 AltGraph
AudioVolumeMute 173 AudioVolumeMute	AudioVolumeDown 174 AudioVolumeDown	AudioVolumeUp 175 AudioVolumeUp
MediaTrackNext 176 MediaTrackNext	MediaTrackPrevious 177 MediaTrackPrevious
MediaStop 178 MediaStop	MediaPlayPause 179 MediaPlayPause
ShiftRight 16 Shift @2	ShiftLeft 16 Shift @1	ControlRight 17 Control @2	ControlLeft 17 Control @1
AltRight 18 Alt @2	AltLeft 18 Alt @1	MetaRight 92 Meta @2	MetaLeft 91 Meta @1`

const printingKeys = `
Digit1 49 1 !	Digit2 50 2 @	Digit3 51 3 #	Digit4 52 4 $	Digit5 53 5 %	Digit6 54 6 ^	Digit7 55 7 &	Digit8 56 8 *
Digit9 57 9 (	Digit0 48 0 )	Minus 189 - _	Equal 187 = +	BracketLeft 219 [ {	BracketRight 221 ] }
Semicolon 186 ; :	Quote 222 ' "	Comma 188 , <	Period 190 . >	Slash 191 / ?	Backslash 220 \ |	Backquote 192 %s ~`

// layout returns the keys by name: by their codes with what shift makes of them, and by what they are with and without it.
var layout = sync.OnceValue(func() map[string]key {
	byName := map[string]key{}
	all := keypadKeys + "\n" + otherKeys + "\n" + strings.Replace(printingKeys, "%s", "`", 1)
	for _, entry := range strings.FieldsFunc(all, func(r rune) bool { return r == '\n' || r == '\t' }) {
		enter(byName, read(strings.Fields(entry)))
	}
	for c := 'a'; c <= 'z'; c++ {
		upper := strings.ToUpper(string(c))
		enter(byName, key{code: "Key" + upper, key: string(c), shifted: upper, number: int64(c) - 'a' + 'A'})
	}
	for n := 1; n <= 24; n++ {
		name := "F" + strconv.Itoa(n)
		enter(byName, key{code: name, key: name, number: int64(111 + n)})
	}
	enter(byName, key{code: "Space", key: " ", number: 32})
	return byName
})

// read reads one key: code, number, key, key and number with shift, location.
func read(fields []string) key {
	k := key{code: fields[0], key: fields[2]}
	k.number, _ = strconv.ParseInt(fields[1], 10, 64) // a test looks at all numbers
	for i, field := range fields[3:] {
		switch {
		case len(field) > 1 && field[0] == '@':
			k.location = int64(field[1] - '0')
		case i == 0:
			k.shifted = field
		default:
			k.shiftedNumber, _ = strconv.ParseInt(field, 10, 64)
		}
	}
	return k
}

// enter names a key. What a name that is not a code means does not depend on shift.
func enter(byName map[string]key, k key) {
	switch {
	case k.key == "Enter":
		k.text = "\r"
	case utf8.RuneCountInString(k.key) == 1:
		k.text = k.key
	}
	byName[k.code] = k
	plain := k
	plain.shifted, plain.shiftedNumber = "", 0
	byName[k.key] = plain
	if k.shifted != "" && k.location == 0 {
		plain.key, plain.text = k.shifted, k.shifted
		byName[k.shifted] = plain
	}
}
