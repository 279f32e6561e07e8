package tab

import (
	"compress/gzip"
	"crypto/sha1"
	"embed"
	"encoding/base64"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

//go:embed testdata
var pages embed.FS

// site is a server with three sites, since each address of loopback is one of its own to Chromium, and a log of what it was asked.
type site struct {
	t    testing.TB
	port string

	mu  sync.Mutex
	log []string
	got map[string]http.Header // the last headers, by method and path
}

// newSite serves the files of testdata, and what files cannot.
func newSite(t testing.TB) *site {
	t.Helper()
	s := &site{t: t, got: map[string]http.Header{}}
	first, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, s.port, _ = net.SplitHostPort(first.Addr().String())
	second, err := net.Listen("tcp", "127.0.0.2:"+s.port)
	if err != nil {
		t.Fatal(err)
	}
	server := http.Server{Handler: s.handler()}
	var serving sync.WaitGroup
	for _, l := range []net.Listener{first, second} {
		serving.Go(func() { _ = server.Serve(l) }) // ends when the server is closed
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
		serving.Wait()
	})
	return s
}

// url is a page of the site called localhost, 127.0.0.1 or 127.0.0.2.
func (s *site) url(host, path string) string { return "http://" + host + ":" + s.port + path }

// asked lists what the server was asked for so far, as method and path, in a fixed order.
func (s *site) asked() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(slices.Values(s.log))
}

// headers returns those of the last request for a method and path, such as "GET /x".
func (s *site) headers(what string) http.Header {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.got[what].Clone()
}

func (s *site) handler() http.Handler {
	mux := http.NewServeMux()
	files, err := fs.Sub(pages, "testdata")
	if err != nil {
		s.t.Fatal(err)
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("Access-Control-Allow-Origin", "*")
		if _, err := fs.Stat(files, strings.TrimPrefix(r.URL.Path, "/")); err != nil && r.URL.Path != "/" {
			w.Header().Set("Content-Type", "text/plain")
			fmt.Fprintln(w, "answer to", r.URL.Path)
			return
		}
		page, err := fs.ReadFile(files, strings.TrimPrefix(r.URL.Path, "/"))
		if err != nil {
			s.t.Error(err)
		}
		switch {
		case strings.HasSuffix(r.URL.Path, ".js"):
			w.Header().Set("Content-Type", "text/javascript")
			w.Header().Set("Service-Worker-Allowed", "/")
		case strings.HasSuffix(r.URL.Path, ".css"):
			w.Header().Set("Content-Type", "text/css")
		default:
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
		}
		// Where other sites are named, they are on this port.
		fmt.Fprint(w, strings.ReplaceAll(string(page), "PORT", s.port))
	})
	mux.HandleFunc("/status/{code}", func(w http.ResponseWriter, r *http.Request) {
		var code int
		if _, err := fmt.Sscan(r.PathValue("code"), &code); err != nil {
			s.t.Error(err)
		}
		w.WriteHeader(code)
	})
	mux.HandleFunc("/cacheable/", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=600")
		w.Header().Set("Cache-Status", "edge; hit; ttl=30")
		w.Header().Set("Content-Type", kind(r.URL.Path))
		fmt.Fprint(w, body(r.URL.Path))
	})
	mux.HandleFunc("/etag/", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-cache")
		w.Header().Set("ETag", `"1"`)
		if r.Header.Get("If-None-Match") == `"1"` {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		fmt.Fprintln(w, "tagged")
	})
	mux.HandleFunc("/gzip", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		z := gzip.NewWriter(w)
		fmt.Fprint(z, strings.Repeat("zip ", 5000))
		if err := z.Close(); err != nil {
			s.t.Error(err)
		}
	})
	mux.HandleFunc("/redirect/{n}", func(w http.ResponseWriter, r *http.Request) {
		to := map[string]string{
			"1": "/redirect/2", "2": s.url("127.0.0.1", "/redirect/3"), "3": "/redirected",
			"frame": s.url("127.0.0.2", "/redirect/frame2"), "frame2": s.url("127.0.0.1", "/redirected-frame.html"), "page": "/redirect/page2", "page2": "/late.html",
		}[r.PathValue("n")]
		w.Header().Set("Access-Control-Allow-Origin", "*")
		http.Redirect(w, r, to, http.StatusFound)
	})
	mux.HandleFunc("/cors", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Access-Control-Allow-Origin", r.Header.Get("Origin"))
		w.Header().Set("Access-Control-Allow-Methods", "PUT")
		w.Header().Set("Access-Control-Allow-Headers", "x-odd")
	})
	mux.HandleFunc("/events", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		fmt.Fprint(w, "data: first\n\n")
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	})
	mux.HandleFunc("/ws/", s.socket)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.log = append(s.log, r.Method+" "+r.Host[:strings.LastIndex(r.Host, ":")]+r.URL.RequestURI())
		s.got[r.Method+" "+r.URL.Path] = r.Header.Clone()
		s.mu.Unlock()
		mux.ServeHTTP(w, r)
	})
}

func kind(path string) string {
	switch {
	case strings.HasSuffix(path, ".svg"):
		return "image/svg+xml"
	case strings.HasSuffix(path, ".html"):
		return "text/html"
	case strings.HasSuffix(path, ".vtt"):
		return "text/vtt"
	case strings.HasSuffix(path, ".js"):
		return "text/javascript"
	}
	return "text/plain"
}

func body(path string) string {
	switch {
	case strings.HasSuffix(path, ".svg"):
		return `<svg xmlns="http://www.w3.org/2000/svg" width="20" height="20"><rect width="20" height="20"/></svg>`
	case strings.HasSuffix(path, ".html"):
		return "<!doctype html><title>cacheable</title><p>cacheable"
	case strings.HasSuffix(path, ".vtt"):
		return "WEBVTT\n"
	case strings.HasSuffix(path, ".js"):
		return "0"
	}
	return "cacheable"
}

// socket answers the handshake of RFC 6455, says hello and waits for the end.
func (s *site) socket(w http.ResponseWriter, r *http.Request) {
	if strings.HasSuffix(r.URL.Path, "/refused") {
		w.WriteHeader(http.StatusForbidden)
		return
	}
	conn, buffered, err := w.(http.Hijacker).Hijack()
	if err != nil {
		s.t.Error(err)
		return
	}
	defer func() { _ = conn.Close() }()
	sum := sha1.Sum([]byte(r.Header.Get("Sec-WebSocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	fmt.Fprintf(buffered, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n\x81\x05hello",
		base64.StdEncoding.EncodeToString(sum[:]))
	if err := buffered.Flush(); err != nil {
		return
	}
	_ = conn.SetReadDeadline(time.Now().Add(time.Minute))
	_, _ = buffered.ReadByte() // until the page goes away
}
