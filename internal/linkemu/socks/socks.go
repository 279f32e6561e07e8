// Package socks is the server's side of SOCKS version 5 (RFC 1928), as far as a browser uses it: CONNECT, without authentication.
package socks

import (
	"encoding/binary"
	"io"
	"net/netip"
	"slices"
)

// Reply is what becomes of a request.
type Reply byte

// The replies.
const (
	OK          Reply = 0
	Failed      Reply = 1
	Blocked     Reply = 2
	NoHost      Reply = 4
	Refused     Reply = 5
	Timeout     Reply = 6
	NoCommand   Reply = 7
	NoAddresses Reply = 8
)

const (
	version    = 5
	noAuth     = 0
	noMethod   = 0xff
	cmdConnect = 1
	atypIPv4   = 1
	atypName   = 3
	atypIPv6   = 4
)

// ReadRequest takes a client's greeting and its request. A reply other than OK says what was wrong with them, and is still to be written.
func ReadRequest(client io.ReadWriter) (host string, port uint16, reply Reply) {
	var head [4]byte
	if _, err := io.ReadFull(client, head[:2]); err != nil || head[0] != version {
		return "", 0, Failed
	}
	methods := make([]byte, head[1])
	if _, err := io.ReadFull(client, methods); err != nil {
		return "", 0, Failed
	}
	method := byte(noMethod)
	if slices.Contains(methods, noAuth) {
		method = noAuth
	}
	if _, err := client.Write([]byte{version, method}); err != nil || method == noMethod {
		return "", 0, Failed
	}
	if _, err := io.ReadFull(client, head[:]); err != nil || head[0] != version {
		return "", 0, Failed
	}
	if head[1] != cmdConnect {
		return "", 0, NoCommand
	}
	return readAddress(client, head[3])
}

func readAddress(client io.Reader, kind byte) (host string, port uint16, reply Reply) {
	size := map[byte]int{atypIPv4: 4, atypIPv6: 16}[kind]
	if kind == atypName {
		var length [1]byte
		if _, err := io.ReadFull(client, length[:]); err != nil || length[0] == 0 {
			return "", 0, Failed
		}
		size = int(length[0])
	}
	if size == 0 {
		return "", 0, NoAddresses
	}
	address := make([]byte, size+2)
	if _, err := io.ReadFull(client, address); err != nil {
		return "", 0, Failed
	}
	host, port = string(address[:size]), binary.BigEndian.Uint16(address[size:])
	if kind != atypName {
		a, _ := netip.AddrFromSlice(address[:size])
		host = a.Unmap().String()
	}
	return host, port, OK
}

// Write answers a request.
func (r Reply) Write(client io.Writer) error {
	_, err := client.Write([]byte{version, byte(r), 0, atypIPv4, 0, 0, 0, 0, 0, 0})
	return err
}
