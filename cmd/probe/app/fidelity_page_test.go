package app

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"image"
	"image/png"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	neturl "net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// referencePage is a page as shops have them: 41 requests to two origins, 1.05 MB in all. Its document names styles and blocking scripts,
// a hero picture, a gallery that both origins share, and deferred scripts; once the blocking scripts have run, one in the body asks the
// second origin for data and puts recommended pictures, which that origin has too, into the page.
//
// Of the page of the reference measurements no more is known than those three numbers, so structure and sizes were fitted to its
// loads and LCPs: that ours agree says that one page can have them all, not that it is the same page. What they rest on:
//   - The recommendations cost a fast link round trips that a slow one hides behind the gallery, which is still under way there. Without
//     something discovered late, a page over LTE and HTTP/2 is little more than set-up and transmission, and a sixth too fast.
//   - The data are fetched without credentials, for which a browser opens a connection of its own, and urgently. A deferred script that
//     asked for them would itself wait for the gallery on a slow link, and the load event would come before the recommendations.
//   - The hero has no fetchpriority: over HTTP/1.1 it shares the link with what its origin has of the gallery, and comes before
//     the recommendations.
type referencePage struct {
	url         string
	certificate string // as --ignore-certificate-errors-spki-list has it
}

// The sizes in bytes. What they leave is for the pictures of the gallery.
const (
	pageBytes        = 1_050_000
	documentBytes    = 24_000
	heroBytes        = 185_000
	dataBytes        = 6_000
	recommendedBytes = 384_000 // all of them
)

// How many pictures there are.
const (
	galleryCount     = 16
	recommendedCount = 16
)

// assets are the resources of the page but for its document, its gallery and what it recommends.
func assets() map[string]asset {
	return map[string]asset{
		"/reset.css":  {"text/css", 10_000},
		"/style.css":  {"text/css", 20_000},
		"/vendor.js":  {"text/javascript", 34_000},
		"/app.js":     {"text/javascript", 16_000},
		"/later.js":   {"text/javascript", 40_000},
		"/metrics.js": {"text/javascript", 30_000},
		"/hero.png":   {"image/png", heroBytes},
		"/data.json":  {"application/json", dataBytes},
	}
}

type asset struct {
	kind string
	size int
}

// galleryBytes is what the other resources leave.
func galleryBytes() int {
	left := pageBytes - documentBytes - recommendedBytes
	for _, a := range assets() {
		left -= a.size
	}
	return left
}

// shares divides bytes among pictures, whose sizes differ by up to a factor of seven.
func shares(bytes, count int) []int {
	sizes, sum := make([]int, count), 0
	for i := range sizes {
		sizes[i] = 1 + (i*5)%7
		sum += sizes[i]
	}
	for i := range sizes {
		sizes[i] = bytes * sizes[i] / sum
	}
	return sizes
}

// startReferencePage serves the page over TLS, by HTTP/2 or HTTP/1.1.
func startReferencePage(b *testing.B, http2 bool) referencePage {
	b.Helper()
	files := map[string][]byte{}
	kinds := map[string]string{}
	for path, a := range assets() {
		files[path], kinds[path] = body(path, a.size), a.kind
	}
	for i, size := range shares(galleryBytes(), galleryCount) {
		path := fmt.Sprintf("/small%d.png", i)
		files[path], kinds[path] = body(path, size), "image/png"
	}
	for i, size := range shares(recommendedBytes, recommendedCount) {
		path := fmt.Sprintf("/more%d.png", i)
		files[path], kinds[path] = body(path, size), "image/png"
	}
	serve := func() *httptest.Server {
		s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			file, ok := files[r.URL.Path]
			if !ok {
				http.NotFound(w, r)
				return
			}
			w.Header().Set("Content-Type", kinds[r.URL.Path])
			w.Header().Set("Content-Length", strconv.Itoa(len(file)))
			w.Header().Set("Access-Control-Allow-Origin", "*")
			w.Header().Set("Cache-Control", "no-store")
			inTurn(w, r, file)
		}))
		s.EnableHTTP2 = http2
		s.Config.ConnContext = withTurns
		s.Config.ErrorLog = log.New(io.Discard, "", 0) // browsers drop connections that they do not need
		s.StartTLS()
		b.Cleanup(s.Close)
		return s
	}
	first, second := serve(), serve()
	files["/"], kinds["/"] = document(b, byName(b, second)), "text/html; charset=utf-8"
	pin := sha256.Sum256(first.Certificate().RawSubjectPublicKeyInfo)
	return referencePage{url: byName(b, first) + "/", certificate: base64.StdEncoding.EncodeToString(pin[:])}
}

// byName is the address of a server by a name that every machine resolves, so that DNS has to be asked across the link.
func byName(b *testing.B, s *httptest.Server) string {
	b.Helper()
	u, err := neturl.Parse(s.URL)
	if err != nil {
		b.Fatal(err)
	}
	return "https://localhost:" + u.Port()
}

// document is the page's HTML. Every other picture of the gallery is on the second origin.
func document(b *testing.B, second string) []byte {
	b.Helper()
	var text strings.Builder
	text.WriteString(`<!doctype html><html lang=en><meta charset=utf-8><title>reference</title><link rel=icon href="data:,">
<link rel=stylesheet href=/reset.css><link rel=stylesheet href=/style.css>
<script src=/vendor.js></script><script src=/app.js></script>
<script defer src=/later.js></script><script defer src="` + second + `/metrics.js"></script>
<style>body{margin:0;font:16px sans-serif}.hero{display:block;width:1200px;height:500px}.small{width:160px;height:100px}</style>
<h1>Reference</h1><img class=hero src=/hero.png alt=""><div>
`)
	for i := range galleryCount {
		origin := ""
		if i%2 == 1 {
			origin = second
		}
		fmt.Fprintf(&text, "<img class=small src=\"%s/small%d.png\" alt=\"\">\n", origin, i)
	}
	fmt.Fprintf(&text, `</div><div id=more></div>
<script>fetch("%[1]s/data.json").then(r => r.json()).then(() => {
	for (let i = 0; i < %[2]d; i++) {
		const picture = new Image
		picture.className = "small"
		picture.src = "%[1]s/more" + i + ".png"
		document.getElementById("more").append(picture)
	}
})</script><p>`, second, recommendedCount)
	if text.Len() > documentBytes {
		b.Fatalf("document: got %d bytes before it is padded, want at most %d", text.Len(), documentBytes)
	}
	text.WriteString("<!--" + strings.Repeat("x", documentBytes-text.Len()-7) + "-->")
	return []byte(text.String())
}

// body makes a resource of that size: a picture, or what a browser skips.
func body(path string, size int) []byte {
	var b bytes.Buffer
	switch {
	case strings.HasSuffix(path, ".png"):
		width, height := 160, 100
		if path == "/hero.png" {
			width, height = 1200, 500
		}
		if err := png.Encode(&b, image.NewGray(image.Rect(0, 0, width, height))); err != nil {
			panic(err) // a buffer takes everything
		}
		b.Write(make([]byte, size-b.Len())) // decoders stop at the end of the picture
	case strings.HasSuffix(path, ".json"):
		b.WriteString(`"` + strings.Repeat("x", size-2) + `"`)
	default:
		b.WriteString("/*" + strings.Repeat("x", size-4) + "*/")
	}
	return b.Bytes()
}

// turns decides which response of a connection may send its next piece, as servers do that heed priorities (RFC 9218): the most
// urgent, by turns among those that may be interleaved. Go's own server takes all of them by turns, which no site of weight does.
type turns struct {
	mu      sync.Mutex
	changed *sync.Cond
	open    []*response // the one that has waited longest first
}

// response is one that has something to send.
type response struct {
	urgency     int
	incremental bool
}

// piece is how much a response sends before it is another's turn.
const piece = 8 << 10

type turnsKey struct{}

// withTurns is the ConnContext of a server.
func withTurns(ctx context.Context, _ net.Conn) context.Context {
	t := new(turns)
	t.changed = sync.NewCond(&t.mu)
	return context.WithValue(ctx, turnsKey{}, t)
}

// inTurn sends a body piece by piece when it is its turn.
func inTurn(w http.ResponseWriter, r *http.Request, file []byte) {
	t := r.Context().Value(turnsKey{}).(*turns)
	mine := priority(r.Header.Get("Priority"))
	t.mu.Lock()
	t.open = append(t.open, mine)
	t.mu.Unlock()
	defer t.leave(mine)
	for len(file) > 0 {
		n := min(piece, len(file))
		t.await(mine)
		if _, err := w.Write(file[:n]); err != nil {
			return // the browser has gone
		}
		file = file[n:]
		t.pass(mine)
	}
}

// priority reads the header of that name.
func priority(header string) *response {
	r := &response{urgency: 3}
	for field := range strings.SplitSeq(header, ",") {
		switch name, value, _ := strings.Cut(strings.TrimSpace(field), "="); name {
		case "u":
			if u, err := strconv.Atoi(value); err == nil {
				r.urgency = u
			}
		case "i":
			r.incremental = true
		}
	}
	return r
}

// next is the response whose turn it is. The lock is held.
func (t *turns) next() *response {
	best := t.open[0]
	for _, r := range t.open[1:] {
		if r.urgency < best.urgency {
			best = r
		}
	}
	return best
}

func (t *turns) await(mine *response) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for t.next() != mine {
		t.changed.Wait()
	}
}

// pass puts a response that may be interleaved behind the others.
func (t *turns) pass(mine *response) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if mine.incremental {
		t.drop(mine)
		t.open = append(t.open, mine)
	}
	t.changed.Broadcast()
}

func (t *turns) leave(mine *response) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.drop(mine)
	t.changed.Broadcast()
}

func (t *turns) drop(mine *response) {
	for i, r := range t.open {
		if r == mine {
			t.open = append(t.open[:i], t.open[i+1:]...)
			return
		}
	}
}
