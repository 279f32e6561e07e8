package cachestate

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// sfKind is the type of a structured field value.
type sfKind uint8

const (
	sfInteger sfKind = iota + 1
	sfDecimal
	sfString
	sfToken
	sfBytes
	sfBoolean
	sfDate
	sfDisplay
	sfInnerList
)

// sfItem is a bare item. Of the values only those are kept that Cache-Status
// has a use for: text of strings and tokens, number of integers and booleans.
type sfItem struct {
	kind   sfKind
	text   string
	number int64
}

// isName reports whether the item may name something: a token or, what RFC
// 9211 allows for caches and some senders use for reasons, a string.
func (i sfItem) isName() bool { return i.kind == sfToken || i.kind == sfString }

// sfMember is a member of a list with its parameters.
type sfMember struct {
	sfItem
	params []sfParam
}

type sfParam struct {
	key   string
	value sfItem
}

// param returns the parameter of that name; of several the last counts.
func (m sfMember) param(key string) (sfItem, bool) {
	for i := len(m.params) - 1; i >= 0; i-- {
		if m.params[i].key == key {
			return m.params[i].value, true
		}
	}
	return sfItem{}, false
}

// parseList parses a list by RFC 9651, section 4.2.1, as strictly as the
// section asks: one error anywhere and nothing of the field is used.
func parseList(s string) ([]sfMember, bool) {
	p := &sfParser{rest: strings.Trim(s, " ")}
	var members []sfMember
	for p.rest != "" {
		member, ok := p.member()
		if !ok {
			return nil, false
		}
		members = append(members, member)
		p.skip(" \t")
		if p.rest == "" {
			break
		}
		if !p.take(',') {
			return nil, false
		}
		if p.skip(" \t"); p.rest == "" {
			return nil, false // a trailing comma
		}
	}
	return members, true
}

// sfParser consumes rest from the front. Every method consumes at least one
// byte or ends its caller's loop, so parsing is linear.
type sfParser struct{ rest string }

func (p *sfParser) skip(set string) { p.rest = strings.TrimLeft(p.rest, set) }

// take consumes b when it comes next.
func (p *sfParser) take(b byte) bool {
	if p.rest == "" || p.rest[0] != b {
		return false
	}
	p.rest = p.rest[1:]
	return true
}

// takeWhile consumes and returns the longest prefix of bytes that belong.
func (p *sfParser) takeWhile(belongs func(byte) bool) string {
	end := 0
	for end < len(p.rest) && belongs(p.rest[end]) {
		end++
	}
	taken := p.rest[:end]
	p.rest = p.rest[end:]
	return taken
}

func (p *sfParser) member() (sfMember, bool) {
	if !p.take('(') {
		return p.item()
	}
	for {
		p.skip(" ")
		if p.take(')') {
			params, ok := p.params()
			return sfMember{sfItem{kind: sfInnerList}, params}, ok
		}
		if _, ok := p.item(); !ok {
			return sfMember{}, false
		}
		if p.rest == "" || (p.rest[0] != ' ' && p.rest[0] != ')') {
			return sfMember{}, false
		}
	}
}

func (p *sfParser) item() (sfMember, bool) {
	value, ok := p.bareItem()
	if !ok {
		return sfMember{}, false
	}
	params, ok := p.params()
	return sfMember{value, params}, ok
}

func (p *sfParser) params() ([]sfParam, bool) {
	var params []sfParam
	for p.take(';') {
		p.skip(" ")
		if p.rest == "" || !isKeyStart(p.rest[0]) {
			return nil, false
		}
		param := sfParam{key: p.takeWhile(isKeyByte), value: sfItem{kind: sfBoolean, number: 1}}
		if p.take('=') {
			value, ok := p.bareItem()
			if !ok {
				return nil, false
			}
			param.value = value
		}
		params = append(params, param)
	}
	return params, true
}

func (p *sfParser) bareItem() (sfItem, bool) {
	if p.rest == "" {
		return sfItem{}, false
	}
	switch b := p.rest[0]; {
	case b == '-' || isDigit(b):
		return p.number()
	case b == '"':
		return p.quoted()
	case b == '*' || isAlpha(b):
		return sfItem{kind: sfToken, text: p.takeWhile(isTokenByte)}, true
	case b == ':':
		return p.bytes()
	case b == '?':
		return p.boolean()
	case b == '@':
		return p.date()
	case b == '%':
		return p.display()
	}
	return sfItem{}, false
}

func (p *sfParser) number() (sfItem, bool) {
	const maxIntegerDigits, maxWholeDigits, maxFractionDigits = 15, 12, 3
	negative := p.take('-')
	whole := p.takeWhile(isDigit)
	if whole == "" || len(whole) > maxIntegerDigits {
		return sfItem{}, false
	}
	if p.take('.') {
		fraction := p.takeWhile(isDigit)
		ok := len(whole) <= maxWholeDigits && fraction != "" && len(fraction) <= maxFractionDigits
		return sfItem{kind: sfDecimal}, ok
	}
	value, err := strconv.ParseInt(whole, 10, 64)
	if negative {
		value = -value
	}
	return sfItem{kind: sfInteger, number: value}, err == nil
}

func (p *sfParser) quoted() (sfItem, bool) {
	p.take('"')
	var text strings.Builder
	for p.rest != "" {
		b := p.rest[0]
		p.rest = p.rest[1:]
		switch {
		case b == '"':
			return sfItem{kind: sfString, text: text.String()}, true
		case b == '\\':
			if p.rest == "" || (p.rest[0] != '"' && p.rest[0] != '\\') {
				return sfItem{}, false
			}
			b, p.rest = p.rest[0], p.rest[1:]
		case !isVisible(b):
			return sfItem{}, false
		}
		text.WriteByte(b)
	}
	return sfItem{}, false
}

func (p *sfParser) bytes() (sfItem, bool) {
	p.take(':')
	p.takeWhile(func(b byte) bool { return isAlpha(b) || isDigit(b) || strings.IndexByte("+/=", b) >= 0 })
	return sfItem{kind: sfBytes}, p.take(':')
}

func (p *sfParser) boolean() (sfItem, bool) {
	p.take('?')
	if p.take('1') {
		return sfItem{kind: sfBoolean, number: 1}, true
	}
	return sfItem{kind: sfBoolean}, p.take('0')
}

func (p *sfParser) date() (sfItem, bool) {
	p.take('@')
	value, ok := p.number()
	return sfItem{kind: sfDate}, ok && value.kind == sfInteger
}

func (p *sfParser) display() (sfItem, bool) {
	p.take('%')
	if !p.take('"') {
		return sfItem{}, false
	}
	var text []byte
	for p.rest != "" {
		b := p.rest[0]
		p.rest = p.rest[1:]
		switch {
		case b == '"':
			return sfItem{kind: sfDisplay}, utf8.Valid(text)
		case b == '%':
			if len(p.rest) < 2 || !isLowerHex(p.rest[0]) || !isLowerHex(p.rest[1]) {
				return sfItem{}, false
			}
			value, err := strconv.ParseUint(p.rest[:2], 16, 8)
			if err != nil {
				return sfItem{}, false
			}
			b, p.rest = byte(value), p.rest[2:]
		case !isVisible(b):
			return sfItem{}, false
		}
		text = append(text, b)
	}
	return sfItem{}, false
}

func isVisible(b byte) bool { return b >= 0x20 && b <= 0x7e }

func isLowerHex(b byte) bool { return isDigit(b) || b >= 'a' && b <= 'f' }

func isKeyStart(b byte) bool { return b == '*' || b >= 'a' && b <= 'z' }

func isKeyByte(b byte) bool {
	return isKeyStart(b) || isDigit(b) || b == '_' || b == '-' || b == '.'
}

// isTokenByte knows tchar of RFC 9110, section 5.6.2, and the colon and slash
// that structured fields add.
func isTokenByte(b byte) bool {
	return isAlpha(b) || isDigit(b) || strings.IndexByte("!#$%&'*+-.^_`|~:/", b) >= 0
}
