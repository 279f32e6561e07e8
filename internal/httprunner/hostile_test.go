package httprunner_test

import (
	"bufio"
	"compress/gzip"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"

	"lastmile/internal/httprunner"
	"lastmile/internal/runs"
	"lastmile/internal/scenario"
)

// listen accepts connections on loopback and hands each to serve, which owns it, until the test ends.
func listen(t testing.TB, serve func(net.Conn)) (address string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var open sync.WaitGroup
	var mu sync.Mutex
	var conns []net.Conn
	open.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			conns = append(conns, conn)
			mu.Unlock()
			open.Go(func() {
				defer conn.Close()
				serve(conn)
			})
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		mu.Lock()
		for _, conn := range conns {
			_ = conn.Close()
		}
		mu.Unlock()
		open.Wait()
	})
	return listener.Addr().String()
}

// answer reads a request's header and hands over the connection.
func answer(reply func(net.Conn)) func(net.Conn) {
	return func(conn net.Conn) {
		if _, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
			reply(conn)
		}
	}
}

// say answers with the text and closes.
func say(text string) func(net.Conn) {
	return answer(func(conn net.Conn) { _, _ = io.WriteString(conn, text) })
}

// forever answers with the head and then repeats the rest, with a pause before each, until the client has enough.
func forever(head, rest string, pause time.Duration) func(net.Conn) {
	return answer(func(conn net.Conn) {
		_, err := io.WriteString(conn, head)
		for err == nil {
			time.Sleep(pause)
			_, err = io.WriteString(conn, rest)
		}
	})
}

// reset ends a connection with RST.
func reset(conn net.Conn) {
	_ = conn.(*net.TCPConn).SetLinger(0)
	_ = conn.Close()
}

// silent keeps the connection until the client closes it.
func silent(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) }

// unresponsive returns an address whose host answers no dial: a listener with a full queue, for which Linux drops the packets.
func unresponsive(t testing.TB) (address string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	raw, err := listener.(*net.TCPListener).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if err := raw.Control(func(fd uintptr) { _ = syscall.Listen(int(fd), 0) }); err != nil {
		t.Fatal(err)
	}
	for range 10 {
		conn, err := net.DialTimeout("tcp", listener.Addr().String(), 100*time.Millisecond)
		if err != nil {
			return listener.Addr().String()
		}
		t.Cleanup(func() { _ = conn.Close() })
	}
	t.Fatal("got ten connections on a listener with a queue of none, want the dials to hang")
	return ""
}

func gzipped(text string) string {
	var b strings.Builder
	w := gzip.NewWriter(&b)
	_, _ = io.WriteString(w, text)
	_ = w.Close()
	return b.String()
}

// packed is a text in a content coding.
func packed(t testing.TB, coding, text string) string {
	t.Helper()
	var b strings.Builder
	var w io.WriteCloser = brotli.NewWriterLevel(&b, 1)
	if coding == "zstd" {
		var err error
		if w, err = zstd.NewWriter(&b, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithWindowSize(1<<20)); err != nil {
			t.Fatal(err)
		}
	}
	_, _ = io.WriteString(w, text)
	_ = w.Close()
	return b.String()
}

// coded is a response with a body that claims to be in a coding.
func coded(coding, body string) string {
	return fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Encoding: %s\r\nContent-Length: %d\r\n\r\n%s", coding, len(body), body)
}

// zip is a response with a body that claims to be gzip.
func zip(body string) string { return coded("gzip", body) }

func TestHostileServers(t *testing.T) {
	chunk := strings.Repeat("x", 64<<10)
	zeros := strings.Repeat("\x00", 5e6)
	nested := strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000)
	for _, test := range []struct {
		name   string
		serve  func(net.Conn)
		step   scenario.Step
		class  runs.Class
		detail string
	}{
		{"endless body", forever("HTTP/1.1 200 OK\r\n\r\n", chunk, 0), scenario.Step{}, runs.ClassScript, `body over limit: got more than 1MB`},
		{"endless error page", forever("HTTP/1.1 503 OK\r\n\r\n", chunk, 0), scenario.Step{}, runs.ClassHTTP5xx, `got 503`},
		{"body just over the limit", say("HTTP/1.1 200 OK\r\n\r\n" + strings.Repeat("x", 1e6+1)), scenario.Step{}, runs.ClassScript, `body over limit`},
		{"body at the limit", say("HTTP/1.1 200 OK\r\n\r\n" + strings.Repeat("x", 1e6)), scenario.Step{}, "", ""},
		{"slow body", forever("HTTP/1.1 200 OK\r\n\r\n", "x", 10*time.Millisecond), scenario.Step{}, runs.ClassTimeout, `^timed out after \d+ms receiving the response, \d+ bytes so far$`},
		{"slow header", forever("HTTP/1.1 200 OK\r\n", "X-A: b\r\n", 10*time.Millisecond), scenario.Step{}, runs.ClassTimeout, `receiving the response, 0 bytes so far`},
		{"header flood", forever("HTTP/1.1 200 OK\r\n", "X-A: "+strings.Repeat("b", 1000)+"\r\n", 0), scenario.Step{}, runs.ClassScript, `headers exceeded`},
		{"one endless header", forever("HTTP/1.1 200 OK\r\nX-A: ", chunk, 0), scenario.Step{}, runs.ClassScript, `headers exceeded`},
		{"endless interim responses", forever("", "HTTP/1.1 103 Early Hints\r\n\r\n", 0), scenario.Step{}, runs.ClassScript, `too many 1xx`},
		{"unasked protocol switch", answer(func(c net.Conn) {
			_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n")
			silent(c)
		}), scenario.Step{}, runs.ClassScript, `101 Switching Protocols`},
		{"silence", silent, scenario.Step{}, runs.ClassTimeout, `^timed out after \d+ms waiting for the response$`},
		{"closed at once", func(c net.Conn) { _ = c.Close() }, scenario.Step{}, runs.ClassConnect, `connection (closed|reset) while`},
		{"closed before the response", say(""), scenario.Step{}, runs.ClassConnect, `connection closed while waiting for the response`},
		{"closed in the header", say("HTTP/1.1 200 OK\r\nX-A:"), scenario.Step{}, runs.ClassScript, `response ended early`},
		{"closed in the body", say("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc"), scenario.Step{}, runs.ClassScript, `response ended early`},
		{"reset before the response", answer(reset), scenario.Step{}, runs.ClassConnect, `connection reset while waiting for the response`},
		{"reset in the body", answer(func(c net.Conn) {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
			reset(c)
		}), scenario.Step{}, runs.ClassConnect, `connection reset while (receiving|waiting for) the response`}, // a reset overtakes data not read yet,
		{"no http", say("SSH-2.0-token-value\r\n"), scenario.Step{}, runs.ClassScript, `malformed HTTP response …$`},
		{"bad status", say("HTTP/1.1 abc token-value\r\n\r\n"), scenario.Step{}, runs.ClassScript, `malformed HTTP status code …$`},
		{"bad header line", say("HTTP/1.1 200 OK\r\nSet-Cookie token-value\r\n\r\n"), scenario.Step{}, runs.ClassScript, `malformed MIME header$`},
		{"bad length", say("HTTP/1.1 200 OK\r\nContent-Length: token-value\r\n\r\n"), scenario.Step{}, runs.ClassScript, `Content-Length …$`},
		{"bad chunks", say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzzz\r\n"), scenario.Step{}, runs.ClassScript, `chunk`},
		{"invalid utf-8", say("HTTP/1.1 200 OK\r\nX-A: \xff\xfe\r\n\r\n\xff\xfe"), assert(scenario.Assertion{Header: "X-A", Equals: text("a")}), runs.ClassAssertion, `header X-A: got "", want a`},
		{"bad gzip", say(zip("no gzip at all")), scenario.Step{}, runs.ClassScript, `decode gzip: gzip: invalid header`},
		{"gzip cut off", say(zip(gzipped(chunk)[:40])), scenario.Step{}, runs.ClassScript, `decode gzip: unexpected EOF`},
		{"gzip checksum", say(zip(gzipped("abc")[:25] + "12345678")), scenario.Step{}, runs.ClassScript, `decode gzip: `},
		{"decompression bomb", say(zip(gzipped(strings.Repeat("\x00", 20e6)))), scenario.Step{}, runs.ClassScript, `body over limit: got more than 1MB`},
		{"bad br", say(coded("br", "\xff\xff no br at all")), scenario.Step{}, runs.ClassScript, `^decode br: brotli: `},
		{"br cut off", say(coded("br", packed(t, "br", nested)[:10])), scenario.Step{}, runs.ClassScript, `^decode br: unexpected EOF`},
		{"br bomb", say(coded("br", packed(t, "br", zeros))), scenario.Step{}, runs.ClassScript, `^decode br: body over limit: got more than 1MB`},
		{"bad zstd", say(coded("zstd", "no zstd at all")), scenario.Step{}, runs.ClassScript, `^decode zstd: `},
		{"zstd cut off", say(coded("zstd", packed(t, "zstd", nested)[:20])), scenario.Step{}, runs.ClassScript, `^decode zstd: unexpected EOF`},
		{"zstd bomb", say(coded("zstd", packed(t, "zstd", zeros))), scenario.Step{}, runs.ClassScript, `^decode zstd: body over limit: got more than 1MB`},
		{"zstd with a window beyond all memory", say(coded("zstd", "\x28\xb5\x2f\xfd\x00\xff\xfb\xff\x0f\x00")), scenario.Step{}, runs.ClassScript, `^decode zstd: window size exceeded`},
		{"slow header line", answer(func(c net.Conn) {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nX-A: ")
			var err error
			for err == nil {
				time.Sleep(10 * time.Millisecond)
				_, err = io.WriteString(c, "x")
			}
		}), scenario.Step{}, runs.ClassTimeout, `receiving the response, 0 bytes so far`},
		{"slow chunks", forever("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "1\r\nx\r\n", 10*time.Millisecond), scenario.Step{}, runs.ClassTimeout, `receiving the response, \d+ bytes so far`},
		{"endless chunk extension", forever("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;a=", chunk, 0), scenario.Step{}, runs.ClassScript, `too long|too large`},
		{"endless trailer", forever("HTTP/1.1 200 OK\r\nTrailer: X-A\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", "X-A: "+strings.Repeat("b", 1000)+"\r\n", 0), scenario.Step{}, runs.ClassScript, ``},
		{"other coding, not looked into", say("HTTP/1.1 200 OK\r\nContent-Encoding: compress\r\n\r\nxyz"), scenario.Step{}, "", ""},
		{"other coding", say("HTTP/1.1 200 OK\r\nContent-Encoding: compress\r\n\r\nxyz"), assert(scenario.Assertion{Body: "a"}), runs.ClassScript, `content-encoding: got "compress", want one of gzip, br, zstd, or none`},
		{"no json", say("HTTP/1.1 200 OK\r\n\r\n<html>"), assert(scenario.Assertion{JSON: "$.a"}), runs.ClassAssertion, `json \$\.a: parse body: invalid character '<'`},
		{"two json values", say("HTTP/1.1 200 OK\r\n\r\n{} {}"), assert(scenario.Assertion{JSON: "$.a"}), runs.ClassAssertion, `more after the first value`},
		{"nested json", say("HTTP/1.1 200 OK\r\n\r\n" + nested), assert(scenario.Assertion{JSON: "$..a"}), runs.ClassAssertion, `nested 100000 deep, want at most 200`},
		{"long variable", say("HTTP/1.1 200 OK\r\n\r\n" + chunk + "x"), extract(scenario.Extractor{Regex: "x+"}), runs.ClassAssertion, `got 65537 bytes, want at most 65536`},
		{"redirect to nowhere", say("HTTP/1.1 302 Found\r\nLocation: http://[?token=token-value\r\n\r\n"), scenario.Step{}, runs.ClassScript, `a location that is not a URL`},
		{"redirect to a script", say("HTTP/1.1 302 Found\r\nLocation: javascript:alert(1)\r\n\r\n"), scenario.Step{}, runs.ClassScript, `got scheme javascript`},
		{"redirect without location", say("HTTP/1.1 302 Found\r\n\r\n"), assert(scenario.Assertion{Status: []string{"302"}}), "", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			j := begin(t, scenario.Scenario{}, httprunner.Options{MaxBody: 1e6})
			test.step.URL = "http://" + listen(t, test.serve) + "/?token=token-value"
			limit := 20 * time.Second
			if test.class == runs.ClassTimeout { // only what never ends takes that long
				limit = 250 * time.Millisecond
			}
			got := j.within(t, test.step, limit)
			wantCause(t, got, test.class, test.detail)
			requests := j.Close().Requests
			if len(requests) != 1 || (test.class != "" && strings.Contains(got.Cause.Detail+requests[0].Error, "token-value")) {
				t.Errorf("got %+v, requests %+v, want one request and nothing of the server's text", got, requests)
			}
		})
	}
}

func TestRedirectLoop(t *testing.T) {
	server := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", "/")
		w.WriteHeader(http.StatusFound)
		_, _ = io.WriteString(w, strings.Repeat("x", 1<<20))
	})
	got := plain(t).step(t, scenario.Step{URL: server.URL})
	wantCause(t, got, runs.ClassScript, "redirect: got more than 10 in a row")
	if got.Requests != 11 {
		t.Errorf("got %d requests, want 11", got.Requests)
	}
}

func TestUnreachable(t *testing.T) {
	refused, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = refused.Close()
	for _, test := range []struct {
		name, url string
		class     runs.Class
		detail    string
		reached   func(runs.Phases) bool
	}{
		{"refused", "http://" + refused.Addr().String(), runs.ClassConnect, `dial tcp 127.0.0.1:\d+: connect: connection refused`, func(p runs.Phases) bool { return p.Connect != nil && p.DNS == nil }},
		{"unknown host", "http://shop.invalid/?token=token-value", runs.ClassDNS, `look up shop.invalid: `, func(p runs.Phases) bool { return p.Blocked != nil && p.Connect == nil }},
		{"plain text for tls", "https://" + listen(t, func(c net.Conn) { _, _ = io.WriteString(c, "HTTP/1.0 400 Bad\r\n\r\n"); silent(c) }), runs.ClassTLS, `HTTPS client`, noTLS},
		{"garbage for tls", "https://" + listen(t, func(c net.Conn) { _, _ = io.WriteString(c, "220 mail.example.com\r\n"); silent(c) }), runs.ClassTLS, `tls: first record`, noTLS},
		{"tls cut off", "https://" + listen(t, func(c net.Conn) { _, _ = c.Read(make([]byte, 1)) }), runs.ClassTLS, ``, noTLS},
		{"no answer to the dial", "http://" + unresponsive(t), runs.ClassTimeout, `timed out after \d+ms connecting$`, func(p runs.Phases) bool { return p.Blocked != nil && p.Connect == nil }},
		{"silence for tls", "https://" + listen(t, silent), runs.ClassTimeout, `in the TLS handshake`, noTLS},
	} {
		t.Run(test.name, func(t *testing.T) {
			j := plain(t)
			limit := 5 * time.Second
			if test.class == runs.ClassTimeout {
				limit = 100 * time.Millisecond
			}
			got := j.within(t, scenario.Step{URL: test.url}, limit)
			wantCause(t, got, test.class, test.detail)
			q := j.Close().Requests[0]
			if p := q.Phases; q.Status != 0 || q.Error != got.Cause.Detail || !test.reached(p) || p.Send != nil || p.Wait != nil || p.Receive != nil {
				t.Errorf("got %+v, want no more phases than it reached", q)
			}
		})
	}
}

func noTLS(p runs.Phases) bool { return p.Blocked != nil && p.TLS == nil && p.Connect == nil }

// TestKeptConnectionThatDied shows that a connection which the server gives up between two steps is no failure of the second:
// an app would not notice either. What it cost counts as blocked.
func TestKeptConnectionThatDied(t *testing.T) {
	const hesitation = 60 * time.Millisecond
	address := listen(t, func(conn net.Conn) {
		requests := bufio.NewReader(conn)
		if _, err := http.ReadRequest(requests); err != nil {
			return
		}
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
		_, _ = http.ReadRequest(requests)
		time.Sleep(hesitation)
	})
	j := plain(t)
	wantCause(t, j.step(t, scenario.Step{URL: "http://" + address}), "", "")
	got := j.step(t, scenario.Step{URL: "http://" + address})
	wantCause(t, got, "", "")
	if p := j.Close().Requests[1].Phases; p.Connect == nil || *p.Blocked < 60 || sum(p) > got.DurationMS+0.1 {
		t.Errorf("got %+v in %v ms, want a new connection, and the old one's end as blocked", p, got.DurationMS)
	}
}

func TestCookieFlood(t *testing.T) {
	var got []int
	server := serve(t, func(w http.ResponseWriter, r *http.Request) {
		got = append(got, len(r.Cookies()))
		for i := range 1500 {
			http.SetCookie(w, &http.Cookie{Name: fmt.Sprintf("c%d-%d", len(got), i), Value: "x"})
		}
		http.SetCookie(w, &http.Cookie{Name: "large", Value: strings.Repeat("x", 5000)})
	})
	j := plain(t)
	for range 4 {
		wantCause(t, j.step(t, scenario.Step{URL: server.URL}), "", "")
	}
	if fmt.Sprint(got) != "[0 1500 2000 2000]" {
		t.Errorf("got %v cookies sent, want no more than 2000 ever kept", got)
	}
}

// TestNothingLeftBehind ends sessions in the middle of everything and looks for their goroutines.
func TestNothingLeftBehind(t *testing.T) {
	h2 := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	h2.EnableHTTP2 = true
	h2.StartTLS()
	t.Cleanup(h2.Close)
	kept := serve(t, shop)
	urls := []string{
		kept.URL, h2.URL, "https://" + listen(t, silent), "http://" + listen(t, silent), "http://shop.invalid/",
		"http://" + listen(t, forever("HTTP/1.1 200 OK\r\n\r\n", "x", time.Millisecond)),
		"http://" + unresponsive(t), // net/http lets a dial outlive its request
	}
	pool := h2.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
	j := begin(t, scenario.Scenario{}, httprunner.Options{RootCAs: pool})
	for _, url := range urls {
		j.within(t, scenario.Step{URL: url}, 50*time.Millisecond)
	}
	began := time.Now()
	if n := len(j.Close().Requests); n != len(urls) || time.Since(began) > 5*time.Second {
		t.Errorf("got %d requests after %s, want %d at once", n, time.Since(began), len(urls))
	}
	if left := clientGoroutines(5 * time.Second); left != "" {
		t.Errorf("got goroutines of a closed session:\n%s", left)
	}
}

// clientGoroutines returns the stacks of net/http's client and of ours once there are none, or after the time given. A
// goroutine whose connection has just been closed needs a moment to notice.
func clientGoroutines(patience time.Duration) (stacks string) {
	buf := make([]byte, 1<<20)
	for end := time.Now().Add(patience); time.Now().Before(end); runtime.Gosched() {
		var left []string
		for _, stack := range strings.Split(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
			for _, mark := range []string{"net/http.(*persistConn)", "net/http.(*Transport)", "net/http.(*http2ClientConn)", "net.(*Resolver)", "net.(*Dialer)", "httprunner.(*"} {
				if strings.Contains(stack, mark) {
					left = append(left, stack)
					break
				}
			}
		}
		if stacks = strings.Join(left, "\n\n"); stacks == "" {
			return ""
		}
	}
	return stacks
}

func TestSlowHandshakeDoesNotBlockTheNextStep(t *testing.T) {
	first := true
	var mu sync.Mutex
	server := httptest.NewUnstartedServer(http.HandlerFunc(shop))
	server.StartTLS()
	t.Cleanup(server.Close)
	config := server.TLS.Clone()
	config.NextProtos = nil
	address := listen(t, func(conn net.Conn) {
		mu.Lock()
		hang := first
		first = false
		mu.Unlock()
		if hang {
			silent(conn)
			return
		}
		secure := tls.Server(conn, config)
		say("HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")(secure)
	})
	pool := server.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
	j := begin(t, scenario.Scenario{}, httprunner.Options{RootCAs: pool})
	wantCause(t, j.within(t, scenario.Step{URL: "https://" + address}, 50*time.Millisecond), runs.ClassTimeout, "TLS handshake")
	wantCause(t, j.step(t, scenario.Step{URL: "https://" + address}), "", "")
}
