package coding_test

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"

	"lastmile/internal/httprunner/coding"
)

// encode applies a content coding.
func encode(t testing.TB, name, text string) []byte {
	t.Helper()
	var out bytes.Buffer
	var w io.WriteCloser
	var err error
	switch name {
	case "gzip":
		w = gzip.NewWriter(&out)
	case "br":
		w = brotli.NewWriterLevel(&out, 1)
	case "zstd":
		w, err = zstd.NewWriter(&out, zstd.WithEncoderConcurrency(1))
	}
	if err == nil {
		_, err = io.WriteString(w, text)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestDecode(t *testing.T) {
	const limit = 100_000
	text := strings.Repeat(`{"state": "paid"}, `, 500)
	for _, name := range []string{"gzip", "br", "zstd"} {
		whole, full, more := encode(t, name, text), encode(t, name, strings.Repeat("x", limit)), encode(t, name, strings.Repeat("x", limit+1))
		bad := bytes.Clone(whole)
		for i := range bad {
			bad[i] ^= 0x55
		}
		wide := map[string]string{"gzip": " GZip", "br": "BR", "zstd": "zstd "}[name]
		for _, test := range []struct {
			name, coding string
			wire         []byte
			want, detail string
		}{
			{"whole", name, whole, text, ""},
			{"name in other letters", wide, whole, text, ""},
			{"at the limit", name, full, strings.Repeat("x", limit), ""},
			{"over the limit", name, more, "", "^decode " + name + ": body over limit: got more than 100kB$"},
			{"cut off", name, whole[:len(whole)-5], "", "^decode " + name + ": .*unexpected EOF"},
			{"of a single byte", name, whole[:1], "", "^decode " + name + ": .*EOF"},
			{"other bytes", name, bad, "", "^decode " + name + ": "},
			{"nothing, as for a HEAD", name, nil, "", ""},
			{"none", "", whole, string(whole), ""},
			{"none by name", "Identity", whole, string(whole), ""},
			{"not asked for", "compress", whole, "", `^content-encoding: got "compress", want one of gzip, br, zstd, or none$`},
			{"one upon the other", name + ", gzip", whole, "", `^content-encoding: got "` + name + `, gzip", want one`},
			{"no name", strings.Repeat("\xff", 200), whole, "", `^content-encoding: got "", want one`},
		} {
			t.Run(name+" "+test.name, func(t *testing.T) {
				b := coding.New(limit)
				for range 2 { // the decoders are used again, after an error too
					got, err := b.Decode(test.coding, test.wire)
					if test.detail == "" {
						if err != nil || string(got) != test.want {
							t.Fatalf("got %d bytes and %v, want %d", len(got), err, len(test.want))
						}
					} else if err == nil || got != nil || !regexp.MustCompile(test.detail).MatchString(err.Error()) {
						t.Fatalf("got %d bytes and %v, want %s", len(got), err, test.detail)
					}
					if got, err := b.Decode(name, whole); err != nil || string(got) != text {
						t.Fatalf("then got %d bytes and %v, want the next body unharmed", len(got), err)
					}
				}
			})
		}
	}
}

// TestErrors shows what a caller can tell apart.
func TestErrors(t *testing.T) {
	b := coding.New(10)
	if _, err := b.Decode("deflate", []byte("x")); !errors.Is(err, coding.ErrUnknown) {
		t.Errorf("got %v, want %v", err, coding.ErrUnknown)
	}
	if _, err := b.Read(strings.NewReader("more than ten")); !errors.Is(err, coding.ErrLimit) {
		t.Errorf("got %v, want %v", err, coding.ErrLimit)
	}
	if got, err := b.Read(strings.NewReader("just ten..")); err != nil || string(got) != "just ten.." {
		t.Errorf("got %q and %v, want all ten bytes", got, err)
	}
}

// bombs are small inputs that stand for very much.
func bombs(t testing.TB) map[string][]byte {
	zeros := strings.Repeat("\x00", 8<<20)
	once := map[string][]byte{"gzip": encode(t, "gzip", zeros), "br": encode(t, "br", zeros), "zstd": encode(t, "zstd", zeros)}
	return map[string][]byte{
		"gzip":                         once["gzip"],
		"gzip in many members":         bytes.Repeat(encode(t, "gzip", strings.Repeat("\x00", 1000)), 1200),
		"gzip in empty members":        bytes.Repeat(encode(t, "gzip", ""), 10_000),
		"br":                           once["br"],
		"zstd":                         once["zstd"],
		"zstd in many frames":          bytes.Repeat(once["zstd"], 10),
		"zstd of frames to be skipped": bytes.Repeat([]byte{0x50, 0x2a, 0x4d, 0x18, 1, 0, 0, 0, 0}, 10_000),
		// A frame with a window of 3.75 TB, and one of 64 MB, each with one block of a repeated byte.
		"zstd with a window beyond all memory": {0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xff, 0xfb, 0xff, 0x0f, 0x00},
		"zstd with a large window":             {0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x80, 0xfb, 0xff, 0x0f, 0x00},
		// One segment that claims 2 GB.
		"zstd that claims much": {0x28, 0xb5, 0x2f, 0xfd, 0xa0, 0x00, 0x00, 0x00, 0x80, 0xfb, 0xff, 0x0f, 0x00},
	}
}

// TestBombs shows that what is small on the wire ends at the limit, and takes no more memory than a decoder's window and the limit.
func TestBombs(t *testing.T) {
	const limit, window, most = 1 << 20, 16 << 20, 64 << 20
	for name, wire := range bombs(t) {
		t.Run(name, func(t *testing.T) {
			b := coding.New(limit)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			got, err := b.Decode(strings.Fields(name)[0], wire)
			runtime.ReadMemStats(&after)
			if taken := after.TotalAlloc - before.TotalAlloc; taken > most { // all that was ever taken: more than was held
				t.Errorf("got %d bytes of memory taken, want at most %d, which is more than a window of %d and the limit", taken, most, window)
			}
			if len(got) > limit || (err == nil) != strings.HasSuffix(name, "empty members") && (err == nil) != strings.HasSuffix(name, "skipped") {
				t.Errorf("got %d bytes and %v, want an error", len(got), err)
			}
			if err != nil && !regexp.MustCompile(`^decode \w+: (body over limit: got more than|window size exceeded|.*size)`).MatchString(err.Error()) {
				t.Errorf("got %v, want the limit or the window", err)
			}
		})
	}
}

func FuzzDecode(f *testing.F) {
	text := strings.Repeat("paid", 2000)
	for _, name := range []string{"gzip", "br", "zstd"} {
		whole := encode(f, name, text)
		f.Add(name, whole)
		f.Add(name, append(bytes.Clone(whole), whole...))
		f.Add(name, whole[:len(whole)/2])
		f.Add(name, encode(f, name, ""))
	}
	f.Add("GZip ", encode(f, "gzip", text)[:20])
	f.Add("", []byte("abc"))
	const limit = 5000
	b := coding.New(limit) // kept from input to input, as a session does
	f.Fuzz(func(t *testing.T, name string, wire []byte) {
		decoded, err := b.Decode(name, wire)
		if err != nil && decoded != nil {
			t.Errorf("got a body and error %v, want one of them", err)
		}
		if len(decoded) > max(limit, len(wire)) {
			t.Errorf("got %d bytes, want at most the limit", len(decoded))
		}
		got := string(decoded) // the next one takes the memory
		fresh, errFresh := coding.New(limit).Decode(name, wire)
		if got != string(fresh) || (err == nil) != (errFresh == nil) {
			t.Errorf("got %q %v, and from a fresh decoder %q %v, want the same", got, err, fresh, errFresh)
		}
	})
}
