package httprunner_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"lastmile/internal/httprunner"
	"lastmile/internal/runs"
	"lastmile/internal/scenario"
)

// TestHTTP2HostileServers: servers that speak HTTP/2 and misuse it.
func TestHTTP2HostileServers(t *testing.T) {
	chunk := strings.Repeat("x", 64<<10)
	zeros := strings.Repeat("\x00", 5e6)
	coded := func(coding, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", coding)
			_, _ = io.WriteString(w, body)
		}
	}
	for _, test := range []struct {
		name   string
		serve  http.HandlerFunc
		class  runs.Class
		detail string
	}{
		{"endless body", func(w http.ResponseWriter, _ *http.Request) { endless(w, chunk, 0) }, runs.ClassScript, `body over limit: got more than 1MB`},
		{"endless error page", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503); endless(w, chunk, 0) }, runs.ClassHTTP5xx, `got 503`},
		{"slow body", func(w http.ResponseWriter, _ *http.Request) { endless(w, "x", 10*time.Millisecond) }, runs.ClassTimeout, `^timed out after \d+ms receiving the response, \d+ bytes so far$`},
		{"silence", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, runs.ClassTimeout, `^timed out after \d+ms waiting for the response$`},
		{"header flood", func(w http.ResponseWriter, _ *http.Request) {
			for i := range 400 {
				w.Header().Set(fmt.Sprintf("X-%d", i), strings.Repeat("token-value", 100))
			}
		}, runs.ClassScript, `header list larger than|PROTOCOL_ERROR`},
		{"endless interim responses", func(w http.ResponseWriter, _ *http.Request) {
			for range 20 {
				w.WriteHeader(http.StatusEarlyHints)
			}
		}, runs.ClassScript, `too many 1xx`},
		{"response reset", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, runs.ClassScript, `stream error: .*INTERNAL_ERROR`},
		{"reset in the body", func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "abc")
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		}, runs.ClassScript, `stream error: .*INTERNAL_ERROR`},
		{"redirect loop", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/again", http.StatusFound) }, runs.ClassScript, `redirect: got more than 10`},
		{"gzip bomb", coded("gzip", gzipped(zeros)), runs.ClassScript, `decode gzip: body over limit`},
		{"br bomb", coded("br", packed(t, "br", zeros)), runs.ClassScript, `decode br: body over limit`},
		{"zstd bomb", coded("zstd", packed(t, "zstd", zeros)), runs.ClassScript, `decode zstd: body over limit`},
	} {
		t.Run(test.name, func(t *testing.T) {
			server := start(t, scenario.ProtocolHTTP2, nil, func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path != "/connect" {
					test.serve(w, r)
				}
			})
			server.options.MaxBody = 1e6
			j := begin(t, scenario.Scenario{}, server.options)
			limit := 20 * time.Second
			if test.class == runs.ClassTimeout {
				wantCause(t, j.step(t, server.step("/connect", scenario.Step{})), "", "")
				limit = 200 * time.Millisecond
			}
			got := j.within(t, server.step("/?token=token-value", scenario.Step{}), limit)
			wantCause(t, got, test.class, test.detail)
			requests := j.Close().Requests
			if last := requests[len(requests)-1]; last.Protocol != "h2" && last.Status != 0 || strings.Contains(got.Cause.Detail+last.Error, "token-value") {
				t.Errorf("got %+v, last request %+v, want h2 and nothing of the server's text", got, last)
			}
		})
	}
}

// frame is a frame of HTTP/2 (RFC 9113, section 4.1).
func frame(kind, flags byte, stream uint32, payload string) string {
	head := make([]byte, 9)
	binary.BigEndian.PutUint32(head, uint32(len(payload))<<8)
	head[3], head[4] = kind, flags
	binary.BigEndian.PutUint32(head[5:], stream)
	return string(head) + payload
}

// The kinds of frames that the floods are made of, and the flag that ends a header.
const (
	frameData, frameHeaders, frameSettings, framePing, frameContinuation = 0, 1, 4, 6, 9

	endHeaders = 4
)

// flood answers the first request with the first frames and then repeats the rest until the client has enough; sent counts the bytes.
func flood(config *tls.Config, first, rest string, sent *atomic.Int64) func(net.Conn) {
	return func(raw net.Conn) {
		conn := tls.Server(raw, config)
		if _, err := io.ReadFull(conn, make([]byte, len("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"))); err != nil {
			return
		}
		if _, err := io.WriteString(conn, frame(frameSettings, 0, 0, "")); err != nil {
			return
		}
		for head := make([]byte, 9); head[3] != frameHeaders; {
			if _, err := io.ReadFull(conn, head); err != nil {
				return
			}
			if _, err := io.CopyN(io.Discard, conn, int64(binary.BigEndian.Uint32(head)>>8)); err != nil {
				return
			}
		}
		done := make(chan struct{})
		go func() { // what the client says to it
			defer close(done)
			_, _ = io.Copy(io.Discard, conn)
		}()
		_, err := io.WriteString(conn, first)
		for err == nil && rest != "" {
			var n int
			n, err = io.WriteString(conn, strings.Repeat(rest, 10))
			sent.Add(int64(n))
		}
		if err != nil {
			_ = raw.Close()
		}
		<-done
	}
}

// TestHTTP2Floods shows what becomes of a client that is sent frames without end: it ends, and holds no more than its limits.
func TestHTTP2Floods(t *testing.T) {
	config, options := identity(t)
	config.NextProtos = []string{"h2"}
	const ok = "\x88"                                             // :status 200, in HPACK
	field := "\x00\x03x-a\x7f\x81\x07" + strings.Repeat("b", 262) // a header of 262 bytes
	for _, test := range []struct {
		name, first, rest string
		class             runs.Class
		detail            string
	}{
		{"header that goes on", frame(frameHeaders, 0, 1, ok), frame(frameContinuation, 0, 1, strings.Repeat(field, 50)), runs.ClassScript, ``},
		{"header that goes on with nothing", frame(frameHeaders, 0, 1, ok), frame(frameContinuation, 0, 1, ""), runs.ClassTimeout, `waiting for the response`},
		{"pings", "", frame(framePing, 0, 0, "12345678"), runs.ClassTimeout, `waiting for the response`},
		{"settings", "", frame(frameSettings, 0, 0, ""), runs.ClassTimeout, `waiting for the response`},
		{"empty data", frame(frameHeaders, endHeaders, 1, ok), frame(frameData, 0, 1, ""), runs.ClassTimeout, `receiving the response`},
		{"data beyond the window", frame(frameHeaders, endHeaders, 1, ok), frame(frameData, 0, 1, strings.Repeat("x", 16<<10)), runs.ClassScript, ``},
		{"frames of another stream", "", frame(frameHeaders, endHeaders, 3, ok), runs.ClassTimeout, `waiting for the response`},
		{"a frame beyond the limit", frame(frameHeaders, endHeaders, 1, strings.Repeat("x", 1<<20)), "", runs.ClassScript, ``},
	} {
		t.Run(test.name, func(t *testing.T) {
			var sent atomic.Int64
			address := listen(t, flood(config, test.first, test.rest, &sent))
			options.MaxBody = 1e6
			j := begin(t, scenario.Scenario{}, options)
			limit := 20 * time.Second
			if test.class == runs.ClassTimeout {
				limit = 400 * time.Millisecond
			}
			peak := watchHeap(t)
			got := j.within(t, scenario.Step{URL: "https://" + address, Protocol: scenario.ProtocolHTTP2}, limit)
			if grown := peak(); grown > 64<<20 {
				t.Errorf("got a heap that grew by %d bytes while the server sent %d, want at most 64 MiB", grown, sent.Load())
			}
			wantCause(t, got, test.class, test.detail)
		})
	}
}

// watchHeap looks at the heap from now on; the function that it returns stops that, and tells by how much it grew at most.
func watchHeap(t testing.TB) (peak func() int64) {
	t.Helper()
	runtime.GC()
	var start runtime.MemStats
	runtime.ReadMemStats(&start)
	stop, top := make(chan struct{}), make(chan uint64)
	go func() {
		most := start.HeapAlloc
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for {
			var now runtime.MemStats
			runtime.ReadMemStats(&now)
			most = max(most, now.HeapAlloc)
			select {
			case <-tick.C:
			case <-stop:
				top <- most
				return
			}
		}
	}()
	return func() int64 {
		close(stop)
		return int64(<-top - start.HeapAlloc)
	}
}

// TestBrokenTLS shows what is said of TLS that goes wrong, before the end of its handshake and after.
func TestBrokenTLS(t *testing.T) {
	config, options := identity(t)
	after := func(garbage string) func(net.Conn) {
		return func(conn net.Conn) {
			secure := tls.Server(conn, config)
			if secure.Handshake() == nil {
				_, _ = secure.Read(make([]byte, 1))
				_, _ = io.WriteString(conn, garbage)
			}
			silent(conn)
		}
	}
	old, roots := expired(t)
	for _, test := range []struct {
		name    string
		serve   func(net.Conn)
		options httprunner.Options
		detail  string
	}{
		{"a record that is not encrypted", after("\x17\x03\x03\x00\x20" + strings.Repeat("x", 32)), options, "bad record MAC"},
		{"text instead of a record", after("220 mail.example.com\r\n"), options, "tls: "},
		{"a record beyond the limit", after("\x17\x03\x03\xff\xff" + strings.Repeat("x", 70_000)), options, "oversized record|record overflow"},
		{"an expired certificate", func(conn net.Conn) { _ = tls.Server(conn, old).Handshake() }, roots, "certificate has expired"},
		{"a handshake that is cut off", func(conn net.Conn) {
			_, _ = conn.Read(make([]byte, 1000))
			_, _ = io.WriteString(conn, "\x16\x03\x03\x00\x50\x02")
		}, options, ""},
		{"a handshake message without end", func(conn net.Conn) {
			_, _ = conn.Read(make([]byte, 1000))
			record := "\x16\x03\x03\x40\x00" + "\x02\xff\xff\xff" + strings.Repeat("x", 0x4000-4)
			_, err := io.WriteString(conn, record)
			for err == nil {
				_, err = io.WriteString(conn, "\x16\x03\x03\x40\x00"+strings.Repeat("x", 0x4000))
			}
		}, options, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			j := begin(t, scenario.Scenario{}, test.options)
			got := j.step(t, scenario.Step{URL: "https://" + listen(t, test.serve)})
			wantCause(t, got, runs.ClassTLS, test.detail)
		})
	}
}

// expired is the TLS of a server whose certificate was good until yesterday, and the options of a runner that trusts it otherwise.
func expired(t testing.TB) (*tls.Config, httprunner.Options) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().AddDate(-1, 0, 0), NotAfter: time.Now().AddDate(0, 0, -1),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(cert)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}, httprunner.Options{RootCAs: roots}
}
