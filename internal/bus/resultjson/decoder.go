package resultjson

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"math/bits"
	"strconv"
	"unicode/utf8"
	"unsafe"
)

// decoder reads JSON from front to back. At the first thing that it does not know how to read it becomes bad, and whatever it has read so
// far is of no use. What it accepts is JSON, and means what encoding/json would take it for; the reverse need not hold.
type decoder struct {
	in     []byte
	at     int
	bad    bool
	space  *Space
	floats []float64 // where pointers to floats point, so that not each is an allocation
}

// maxDepth bounds how deep what is passed over may be nested.
const maxDepth = 32

func (d *decoder) fail() { d.bad, d.at = true, len(d.in) }

// peek passes over white space and returns the next byte, which it leaves; 0 at the end.
func (d *decoder) peek() byte {
	for d.at < len(d.in) {
		switch c := d.in[d.at]; c {
		case ' ', '\t', '\n', '\r':
			d.at++
		default:
			return c
		}
	}
	return 0
}

// take passes over a byte that must come next.
func (d *decoder) take(want byte) {
	if d.at < len(d.in) && d.in[d.at] == want || d.peek() == want {
		d.at++
		return
	}
	d.fail()
}

// literal passes over a word if it comes next.
func (d *decoder) literal(word string) bool {
	if d.peek() != word[0] || len(d.in)-d.at < len(word) || string(d.in[d.at:d.at+len(word)]) != word {
		return false
	}
	d.at += len(word)
	return true
}

// object calls field for the value of each key.
func (d *decoder) object(field func(key []byte)) {
	d.take('{')
	if d.peek() == '}' {
		d.at++
		return
	}
	for !d.bad {
		d.take('"')
		end := bytes.IndexByte(d.in[d.at:], '"')
		if end < 0 {
			d.fail()
			return
		}
		key := d.in[d.at : d.at+end]
		d.at += end + 1
		d.take(':')
		field(key)
		if d.peek() != ',' {
			d.take('}')
			return
		}
		d.at++
	}
}

// unknown passes over the value of a key that has no field. One that is not in plain small letters is beyond us: encoding/json takes
// capitals for the same, and undoes escapes.
func (d *decoder) unknown(key []byte) {
	d.plain(key)
	d.skip(0)
}

func (d *decoder) plain(key []byte) {
	for _, c := range key {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_' && c != '-' {
			d.fail()
			return
		}
	}
}

// array calls element for each one's value.
func (d *decoder) array(element func()) {
	d.take('[')
	if d.peek() == ']' {
		d.at++
		return
	}
	for !d.bad {
		element()
		if d.peek() != ',' {
			d.take(']')
			return
		}
		d.at++
	}
}

// The bytes of a word at which a string is looked at closer: control characters, quotes, backslashes, and what is not ASCII.
const (
	ones = 0x0101010101010101
	high = 0x8080808080808080
)

// quoted passes over a string and returns what is between its quotes, and whether there are escapes in it.
func (d *decoder) quoted() (content []byte, escaped bool) {
	d.take('"')
	start, foreign := d.at, false
	for d.at < len(d.in) {
		if len(d.in)-d.at >= 8 {
			w := binary.LittleEndian.Uint64(d.in[d.at:])
			quote, slash := w^('"'*ones), w^('\\'*ones)
			special := ((w-' '*ones)&^w | (quote-ones)&^quote | (slash-ones)&^slash | w) & high // its lowest bit is right, those above may not be
			d.at += bits.TrailingZeros64(special) / 8
			if special == 0 {
				continue
			}
		}
		switch c := d.in[d.at]; {
		case c == '"':
			content = d.in[start:d.at]
			d.at++
			if foreign && !utf8.Valid(content) {
				d.fail()
			}
			return content, escaped
		case c == '\\':
			escaped = true
			d.at += 2
			continue
		case c < ' ':
			d.fail()
			return nil, false
		case c >= utf8.RuneSelf:
			foreign = true
		}
		d.at++
	}
	d.fail()
	return nil, false
}

// text reads a string. One that is equal to like shares its memory: names come again and again.
func text[T ~string](d *decoder, to *T, like T) {
	if d.literal("null") {
		return
	}
	content, escaped := d.quoted()
	switch {
	case d.bad:
	case escaped:
		var s string
		if json.Unmarshal(d.in[d.at-len(content)-2:d.at], &s) != nil {
			d.fail()
			return
		}
		*to = T(s)
	case string(content) == string(like):
		*to = like
	default:
		*to = T(content)
	}
}

// texts reads a list of strings.
func (d *decoder) texts(to *[]string) {
	list(d, to, nil, func(s, _ *string) { text(d, s, "") })
}

// list reads an array into room, or memory of its own; element is given each one's place, zero, and the one before it, or another zero.
func list[T any](d *decoder, to *[]T, room []T, element func(one, before *T)) {
	if d.literal("null") {
		*to = nil
		return
	}
	if *to != nil { // a repeated key: the two would be mixed
		d.fail()
		return
	}
	out := room
	if out == nil {
		out = []T{}
	}
	var none T
	d.array(func() {
		out = append(out, none)
		before := &none
		if len(out) > 1 {
			before = &out[len(out)-2]
		}
		element(&out[len(out)-1], before)
	})
	*to = out
}

// pointed reads an object that may be null.
func pointed[T any](d *decoder, to **T, object func(*T)) {
	if d.literal("null") {
		*to = nil
		return
	}
	if *to != nil { // a repeated key
		d.fail()
		return
	}
	*to = new(T)
	object(*to)
}

// whole hands a value to encoding/json: for what is rare.
func whole[T any](d *decoder, to *T) {
	d.peek()
	start := d.at
	d.skip(0)
	if !d.bad && json.Unmarshal(d.in[start:d.at], to) != nil {
		d.fail()
	}
}

// number passes over a number. mantissa are its digits, if there are no more than 15, scale how many of them are behind the point; exact says
// that there are no more digits, and no exponent.
func (d *decoder) number() (token []byte, mantissa uint64, scale int, exact bool) {
	d.peek()
	start := d.at
	if d.at < len(d.in) && d.in[d.at] == '-' {
		d.at++
	}
	first := d.at
	mantissa, whole := d.digits(0)
	if whole == 0 || whole > 1 && d.in[first] == '0' {
		d.fail()
		return nil, 0, 0, false
	}
	if d.at < len(d.in) && d.in[d.at] == '.' {
		d.at++
		if mantissa, scale = d.digits(mantissa); scale == 0 {
			d.fail()
			return nil, 0, 0, false
		}
	}
	exact = whole+scale <= 15
	if d.at < len(d.in) && d.in[d.at]|' ' == 'e' {
		exact = false
		d.at++
		if d.at < len(d.in) && (d.in[d.at] == '+' || d.in[d.at] == '-') {
			d.at++
		}
		if _, n := d.digits(0); n == 0 {
			d.fail()
			return nil, 0, 0, false
		}
	}
	return d.in[start:d.at], mantissa, scale, exact
}

// digits passes over digits and adds them to a number, which may overflow.
func (d *decoder) digits(number uint64) (sum uint64, n int) {
	for ; d.at < len(d.in) && d.in[d.at]-'0' <= 9; d.at++ {
		number = number*10 + uint64(d.in[d.at]-'0')
		n++
	}
	return number, n
}

// float reads a number.
func (d *decoder) float(to *float64) {
	if d.literal("null") {
		return
	}
	token, mantissa, scale, exact := d.number()
	switch {
	case d.bad:
	case exact: // both are exact, so that their quotient is the nearest float (Clinger, How to Read Floating Point Numbers Accurately, 1990)
		powers := [...]float64{1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15}
		*to = float64(mantissa) / powers[scale]
		if token[0] == '-' {
			*to = -*to
		}
	default:
		f, err := strconv.ParseFloat(unsafe.String(&token[0], len(token)), 64)
		if err != nil {
			d.fail()
			return
		}
		*to = f
	}
}

// floatIfAny reads a number that may be null.
func (d *decoder) floatIfAny(to **float64) { d.floatIn(&d.floats, to) }

// floatIn is floatIfAny with the number in one of floats. Where those have no room there are new ones; pointers into the old ones hold.
func (d *decoder) floatIn(floats *[]float64, to **float64) {
	if d.literal("null") {
		*to = nil
		return
	}
	if len(*floats) == cap(*floats) {
		*floats = make([]float64, 0, max(64, min(2*cap(*floats), 8*maxRoom)))
	}
	*floats = append(*floats, 0)
	*to = &(*floats)[len(*floats)-1]
	d.float(*to)
}

// integer reads a number without a fraction.
func integer[T int | int64](d *decoder, to *T) {
	if d.literal("null") {
		return
	}
	token, mantissa, scale, exact := d.number()
	if !exact || scale > 0 || len(token) > 15 {
		d.fail()
		return
	}
	*to = T(mantissa)
	if token[0] == '-' {
		*to = -*to
	}
}

func (d *decoder) boolean(to *bool) {
	switch {
	case d.literal("true"):
		*to = true
	case d.literal("false"):
		*to = false
	case !d.literal("null"):
		d.fail()
	}
}

// unmarshal hands a string with its quotes to a type that reads itself.
func (d *decoder) unmarshal(to json.Unmarshaler) {
	content, _ := d.quoted()
	if !d.bad && to.UnmarshalJSON(d.in[d.at-len(content)-2:d.at]) != nil {
		d.fail()
	}
}

// skip passes over a value of any kind.
func (d *decoder) skip(depth int) {
	if depth > maxDepth {
		d.fail()
		return
	}
	switch c := d.peek(); c {
	case '{':
		d.take('{')
		for more := d.peek() != '}'; more && !d.bad; {
			d.passString()
			d.take(':')
			d.skip(depth + 1)
			if more = d.peek() == ','; more {
				d.at++
			}
		}
		d.take('}')
	case '[':
		d.array(func() { d.skip(depth + 1) })
	case '"':
		d.passString()
	case 't', 'f', 'n':
		if !d.literal("true") && !d.literal("false") && !d.literal("null") {
			d.fail()
		}
	default:
		d.number()
	}
}

func (d *decoder) passString() {
	content, escaped := d.quoted()
	if !d.bad && escaped && !json.Valid(d.in[d.at-len(content)-2:d.at]) {
		d.fail()
	}
}
