package demosite

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"lastmile/internal/demosite/edge"
)

// fast is a site without any delay, so that nothing needs to be waited for.
func fast() Options { return Options{ReplicaLag: -1, OriginDelay: -1, Distance: -1} }

func start(t *testing.T, opts Options) *Site {
	t.Helper()
	s, err := Start(t.Context(), slog.New(slog.DiscardHandler), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// visitor is a client without cache, cookie jar or followed redirects.
type visitor struct {
	t      *testing.T
	client *http.Client
	site   *Site
}

func visit(t *testing.T, s *Site) visitor {
	transport := &http.Transport{DisableCompression: true}
	t.Cleanup(transport.CloseIdleConnections)
	return visitor{t, &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse
	}}, s}
}

type page struct {
	status int
	header http.Header
	body   string
}

func (p page) field(t *testing.T, name string) string {
	t.Helper()
	var fields map[string]any
	if err := json.Unmarshal([]byte(p.body), &fields); err != nil {
		t.Fatalf("decode %q: %v", p.body, err)
	}
	return fmt.Sprint(fields[name])
}

// do sends a request to a region; headers come as name, value pairs.
func (v visitor) do(method, region, path, body string, headers ...string) page {
	v.t.Helper()
	r, err := http.NewRequestWithContext(v.t.Context(), method, v.site.URL(region)+path, strings.NewReader(body))
	if err != nil {
		v.t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	res, err := v.client.Do(r)
	if err != nil {
		v.t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		v.t.Fatal(err)
	}
	return page{res.StatusCode, res.Header, string(text)}
}

func (v visitor) get(region, path string, headers ...string) page {
	v.t.Helper()
	return v.do("GET", region, path, "", headers...)
}

// login returns the Authorization header of a user as a pair.
func (v visitor) login(region, name string) []string {
	v.t.Helper()
	p := v.do("POST", region, "/api/login", fmt.Sprintf(`{"email":"%s@example.com","password":%q}`, name, DefaultPassword))
	if p.status != http.StatusOK {
		v.t.Fatalf("sign in: got %d %s", p.status, p.body)
	}
	return []string{"Authorization", "Bearer " + p.field(v.t, "token")}
}

func TestJourneySucceedsInEveryRegion(t *testing.T) {
	s := start(t, fast())
	v := visit(t, s)
	if got := s.Regions(); !slices.Equal(got, []string{"us", "eu", "apac", "latam"}) {
		t.Fatalf("regions: got %v", got)
	}
	for _, region := range s.Regions() {
		for _, path := range []string{"/", "/product/mug", "/login", "/cart", "/api/products", "/api/products/mug", "/healthz"} {
			p := v.get(region, path)
			if p.status != http.StatusOK || p.header.Get("X-Served-Region") != region {
				t.Errorf("%s %s: got %d served by %q, want 200 served by itself", region, path, p.status, p.header.Get("X-Served-Region"))
			}
			if p.header.Get("Server-Timing") == "" || p.header.Get("Cache-Status") == "" {
				t.Errorf("%s %s: got no Server-Timing or Cache-Status: %v", region, path, p.header)
			}
		}
		alice := v.login(region, "alice")
		if me := v.get(region, "/api/me", alice...); me.field(t, "user") != "alice@example.com" ||
			me.header.Get("Cache-Control") != "private, no-store" {
			t.Errorf("%s me: got %s with Cache-Control %q", region, me.body, me.header.Get("Cache-Control"))
		}
		placed := v.do("POST", region, "/api/orders", `{"items":[{"id":"mug","quantity":2}]}`, alice...)
		if placed.status != http.StatusCreated || placed.field(t, "state") != "paid" || placed.field(t, "total_cents") != "3600" {
			t.Fatalf("%s order: got %d %s", region, placed.status, placed.body)
		}
		order := "/api/orders/" + placed.field(t, "id")
		for _, reader := range s.Regions() {
			if p := v.get(reader, order, alice...); p.status != http.StatusOK || p.field(t, "version") != placed.field(t, "version") {
				t.Errorf("order placed in %s, read in %s: got %d %s", region, reader, p.status, p.body)
			}
		}
		if p := v.get(region, order, v.login(region, "bob")...); p.status != http.StatusNotFound {
			t.Errorf("%s: bob reads alice's order: got %d, want 404", region, p.status)
		}
		for _, want := range []int{http.StatusNoContent, http.StatusNotFound} {
			if p := v.do("DELETE", region, order, "", alice...); p.status != want {
				t.Errorf("%s: remove order: got %d, want %d", region, p.status, want)
			}
		}
	}
}

func TestShortestOrderBuysFeaturedProduct(t *testing.T) {
	v := visit(t, start(t, fast()))
	p := v.do("POST", "eu", "/api/orders", "", v.login("eu", "alice")...)
	if p.status != http.StatusCreated || !strings.Contains(p.body, `"lantern"`) {
		t.Errorf("got %d %s, want 201 and a lantern", p.status, p.body)
	}
}

func TestBrowserSignsIn(t *testing.T) {
	v := visit(t, start(t, Options{OriginDelay: -1, Password: "another-password"}))
	form := func(email, password, next string) page {
		body := url.Values{"email": {email}, "password": {password}, "next": {next}}.Encode()
		return v.do("POST", "us", "/login", body, "Content-Type", "application/x-www-form-urlencoded")
	}
	if p := v.get("us", "/checkout"); p.status != http.StatusSeeOther || p.header.Get("Location") != "/login?next=/checkout" {
		t.Errorf("checkout of a stranger: got %d to %q", p.status, p.header.Get("Location"))
	}
	if p := form("alice@example.com", DefaultPassword, "/"); p.status != http.StatusUnauthorized || !strings.Contains(p.body, `role="alert"`) {
		t.Errorf("wrong password: got %d", p.status)
	}
	if p := form(`"><script>`, "x", "/"); strings.Contains(p.body, "<script>\"") || strings.Contains(p.body, `"><script>`) {
		t.Error("the e-mail address came back as markup")
	}
	for next, want := range map[string]string{"/checkout": "/checkout", "/cart": "/cart", "//evil.example": "/", "https://evil.example": "/", "": "/"} {
		p := form("Alice@example.com", "another-password", next)
		if p.status != http.StatusSeeOther || p.header.Get("Location") != want {
			t.Errorf("next %q: got %d to %q, want 303 to %q", next, p.status, p.header.Get("Location"), want)
		}
	}
	cookie := form("alice@example.com", "another-password", "").header.Values("Set-Cookie")[0]
	if !strings.HasPrefix(cookie, "shop_session=") || !strings.Contains(cookie, "HttpOnly") || !strings.Contains(cookie, "SameSite=Lax") {
		t.Errorf("got session cookie %q, want HttpOnly and SameSite=Lax", cookie)
	}
	session, _, _ := strings.Cut(cookie, ";")
	if p := v.get("eu", "/checkout", "Cookie", session); p.status != http.StatusOK || !strings.Contains(p.body, `id="place"`) {
		t.Errorf("checkout after signing in: got %d", p.status)
	}
}

// Every address that a page or the catalogue names must exist, and scripts and
// scenarios rely on these names.
func TestPagesHoldTogether(t *testing.T) {
	v := visit(t, start(t, fast()))
	token := strings.TrimPrefix(v.login("us", "alice")[1], "Bearer ")
	link := regexp.MustCompile(`(?:src|href|action)="([^"]+)"|"image":"([^"]+)"`)
	wanted := map[string][]string{
		"/":               {"Welcome to Wayfare", `href="/product/lantern"`, `id="more"`},
		"/product/mug":    {">Add to cart</button>", `id="add"`},
		"/login":          {`<label for="email">E-mail</label>`, `<label for="password">Password</label>`, ">Sign in</button>"},
		"/cart":           {`id="cart"`, ">Checkout</a>"},
		"/checkout":       {`id="place"`, ">Place order</button>"},
		"/done?order=123": {`<span id="order">123</span>`},
		"/api/products":   {`"id":"boots"`},
	}
	for _, path := range slices.Sorted(maps.Keys(wanted)) {
		p := v.get("us", path, "Cookie", sessionCookie+"="+token)
		if p.status != http.StatusOK {
			t.Errorf("%s: got %d", path, p.status)
		}
		for _, text := range wanted[path] {
			if !strings.Contains(p.body, text) {
				t.Errorf("%s: lacks %s", path, text)
			}
		}
		for _, m := range link.FindAllStringSubmatch(p.body, -1) {
			if to := m[1] + m[2]; v.get("us", to, "Cookie", sessionCookie+"="+token).status != http.StatusOK {
				t.Errorf("%s: %s does not exist", path, to)
			}
		}
	}
}

func TestAssetsAreCompressedAndKept(t *testing.T) {
	v := visit(t, start(t, fast()))
	css := regexp.MustCompile(`/assets/shop\.css\?v=\w+`).FindString(v.get("us", "/").body)
	plain, packed := v.get("us", css), v.get("us", css, "Accept-Encoding", "gzip")
	if packed.header.Get("Content-Encoding") != "gzip" || len(packed.body) >= len(plain.body) {
		t.Errorf("gzip: got encoding %q, %d of %d bytes", packed.header.Get("Content-Encoding"), len(packed.body), len(plain.body))
	}
	if got := plain.header.Get("Cache-Control"); !strings.Contains(got, "max-age=31536000, immutable") {
		t.Errorf("got Cache-Control %q, want a year", got)
	}
	if got := v.get("us", "/assets/shop.css?v=old").header.Get("Cache-Control"); strings.Contains(got, "immutable") {
		t.Errorf("another version: got Cache-Control %q, want no immutable", got)
	}
	if p := v.get("us", css, "If-None-Match", plain.header.Get("ETag")); p.status != http.StatusNotModified || p.body != "" {
		t.Errorf("conditional request: got %d with %d bytes, want 304", p.status, len(p.body))
	}
}

func TestHostileInputIsRefused(t *testing.T) {
	v := visit(t, start(t, fast()))
	alice := v.login("us", "alice")
	large := `{"items":[` + strings.Repeat(`{"id":"mug","quantity":1},`, 2000) + `{}]}`
	many := `{"items":[` + strings.Repeat(`{"id":"mug","quantity":1},`, 20) + `{"id":"mug","quantity":1}]}`
	for _, c := range []struct {
		method, path, body string
		headers            []string
		want               int
	}{
		{"POST", "/api/orders", "{}", nil, http.StatusUnauthorized},
		{"POST", "/api/orders", "{}", []string{"Authorization", "Bearer alice.99999999999.00"}, http.StatusUnauthorized},
		{"POST", "/api/orders", "{}", []string{"Authorization", "Basic " + alice[1][7:]}, http.StatusUnauthorized},
		{"GET", "/api/me", "", []string{"Cookie", "shop_session=.."}, http.StatusUnauthorized},
		{"POST", "/api/orders", large, alice, http.StatusRequestEntityTooLarge},
		{"POST", "/api/orders", many, alice, http.StatusUnprocessableEntity},
		{"POST", "/api/orders", `{"items":[{"id":"mug","quantity":-1}]}`, alice, http.StatusUnprocessableEntity},
		{"POST", "/api/orders", `{"items":[{"id":"yacht","quantity":1}]}`, alice, http.StatusUnprocessableEntity},
		{"POST", "/api/orders", `[`, alice, http.StatusBadRequest},
		{"POST", "/api/login", `{"email":"alice@example.com"}`, nil, http.StatusUnauthorized},
		{"POST", "/login", strings.Repeat("a", maxBody+1), []string{"Content-Type", "application/x-www-form-urlencoded"}, http.StatusBadRequest},
		{"POST", "/api/stock/yacht", `{"quantity":1}`, nil, http.StatusNotFound},
		{"POST", "/api/stock/mug", `{"quantity":-1}`, nil, http.StatusUnprocessableEntity},
		{"POST", "/api/stock/mug", `{}`, nil, http.StatusUnprocessableEntity},
		{"GET", "/api/stock/mug/..%2f..", "", nil, http.StatusNotFound},
		{"GET", "/assets/..%2fcatalogue.json", "", nil, http.StatusNotFound},
		{"GET", "/done?order=%3Cscript%3E", "", nil, http.StatusNotFound},
		{"GET", "/nowhere", "", nil, http.StatusNotFound},
		{"GET", "/?" + strings.Repeat("x", edge.MaxURL), "", nil, http.StatusRequestURITooLong},
		{"PATCH", "/api/products", "", nil, http.StatusMethodNotAllowed},
	} {
		if p := v.do(c.method, "us", c.path, c.body, c.headers...); p.status != c.want {
			t.Errorf("%s %.40s %.40s: got %d %.80s, want %d", c.method, c.path, c.body, p.status, p.body, c.want)
		}
	}
}

// Each fault must be seen where it is switched on, and only there and then.
func TestFaultsShowOnlyWhereSwitchedOn(t *testing.T) {
	s := start(t, fast())
	v := visit(t, s)
	alice, bob := v.login("us", "alice"), v.login("us", "bob")
	fresh := 0 // makes addresses that no cache has seen
	signs := map[Fault]func(region string) bool{
		SlowRegion: func(region string) bool {
			began := time.Now()
			v.get(region, "/cart")
			return time.Since(began) >= slowBy
		},
		Errors: func(region string) bool {
			one, two := v.get(region, "/api/stock/mug").status, v.get(region, "/api/stock/lantern").status
			for _, path := range []string{"/cart", "/api/products", "/api/products/mug", "/assets/mark.svg", "/healthz"} {
				if other := v.get(region, path).status; other != http.StatusOK {
					t.Errorf("%s in %s: got %d, want only the stock broken", path, region, other)
				}
			}
			return one != two && max(one, two) == http.StatusServiceUnavailable
		},
		Misroute: func(region string) bool {
			return v.get(region, "/api/stock/mug").header.Get("X-Served-Region") != region
		},
		CacheMiss: func(region string) bool {
			fresh++
			path := fmt.Sprintf("/api/products?n=%d", fresh)
			v.get(region, path)
			status := v.get(region, path).header.Get("Cache-Status")
			return strings.Contains(status, "fwd=uri-miss") && !strings.Contains(status, "stored")
		},
		ReplicationLag: func(region string) bool {
			order := v.do("POST", "us", "/api/orders", "", alice...).field(t, "id")
			return v.get(region, "/api/orders/"+order, alice...).status == http.StatusNotFound
		},
		LostWrites: func(region string) bool {
			order := v.do("POST", "us", "/api/orders", "", alice...).field(t, "id")
			return v.get("us", "/api/orders/"+order, alice...).status == http.StatusOK &&
				v.get(region, "/api/orders/"+order, alice...).status == http.StatusNotFound
		},
		BackwardReads: func(region string) bool {
			order := v.do("POST", "us", "/api/orders", "", alice...).field(t, "id")
			var seen []int
			for range 3 {
				seen = append(seen, v.get(region, "/api/orders/"+order, alice...).status)
			}
			return slices.Contains(seen, http.StatusOK) && slices.Contains(seen, http.StatusNotFound)
		},
		AuthCached: func(region string) bool {
			first, second := v.get(region, "/api/offers", alice...), v.get(region, "/api/offers", bob...)
			if stranger := v.get(region, "/api/products", alice...).header.Get("Cache-Status"); !strings.Contains(stranger, "fwd=bypass") {
				t.Errorf("products with a token in %s: got %q, want it left alone", region, stranger)
			}
			return first.status == http.StatusOK && first.body == second.body && strings.Contains(second.header.Get("Cache-Status"), "; hit")
		},
		CacheLeak: func(region string) bool {
			mine, other := v.get(region, "/api/me", alice...), v.get(region, "/api/me", bob...)
			return mine.field(t, "canary") == other.field(t, "canary")
		},
	}
	expect := func(f Fault, where string) {
		t.Helper()
		for _, region := range s.Regions() {
			if got, want := signs[f](region), region == where; got != want {
				t.Errorf("%s switched on in %q: seen in %s = %t, want %t", f, where, region, got, want)
			}
		}
	}
	for _, name := range FaultNames() {
		f := Fault(name)
		expect(f, "")
		if err := s.Faults().Set(f, "", true); err != nil {
			t.Fatal(err)
		}
		expect(f, f.DefaultRegion())
		if got, want := s.Faults().Active(), []string{name + "=" + f.DefaultRegion()}; !slices.Equal(got, want) {
			t.Errorf("active: got %v, want %v", got, want)
		}
		if err := s.Faults().Set(f, AllRegions, false); err != nil {
			t.Fatal(err)
		}
		expect(f, "")
	}
}

func TestMisrouteServesTheOtherRegionsData(t *testing.T) {
	s := start(t, Options{OriginDelay: -1, Distance: -1, ReplicaLag: time.Hour})
	v := visit(t, s)
	v.do("POST", "us", "/api/stock/mug", `{"quantity":7}`)
	if got := v.get("latam", "/api/stock/mug").field(t, "quantity"); got != "140" {
		t.Errorf("replica: got %s in stock, want the old 140", got)
	}
	if err := s.Faults().Set(Misroute, "latam", true); err != nil {
		t.Fatal(err)
	}
	p := v.get("latam", "/api/stock/mug")
	if p.field(t, "quantity") != "7" || p.header.Get("X-Served-Region") != "us" || !strings.HasPrefix(p.header.Get("Cache-Status"), "edge-us;") {
		t.Errorf("misrouted: got %s from %q, want the primary's 7", p.body, p.header.Get("X-Served-Region"))
	}
}

func TestOriginDelayIsPaidOnMissesOnly(t *testing.T) {
	v := visit(t, start(t, Options{OriginDelay: time.Second}))
	for _, slow := range []bool{true, false} {
		began := time.Now()
		v.get("us", "/assets/mug.svg")
		if took := time.Since(began); took >= time.Second != slow {
			t.Errorf("got %v, want the origin's second: %t", took, slow)
		}
	}
}

func TestPortInUseIsNamed(t *testing.T) {
	taken, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	port := taken.Addr().(*net.TCPAddr).Port
	_, err = Start(t.Context(), slog.New(slog.DiscardHandler), Options{Port: port, PortFlag: "--shop-port"})
	want := fmt.Sprintf("start demo site: listen on 127.0.0.1:%d for region us (--shop-port chooses the first port)", port)
	if err == nil || !strings.HasPrefix(err.Error(), want) || !strings.Contains(err.Error(), "address already in use") {
		t.Errorf("got %v, want %s: … address already in use", err, want)
	}
}

func TestBadOptionsAreNamedAllAtOnce(t *testing.T) {
	_, err := Start(t.Context(), slog.New(slog.DiscardHandler), Options{Regions: []string{"US", "eu", "eu", "all"}, Port: 65535})
	for _, want := range []string{`"US"`, `"eu" is named twice`, `"all"`, "got port 65535, want 0 to 65532"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want it to name %s", err, want)
		}
	}
}

func TestRunStopsCleanly(t *testing.T) {
	s := start(t, fast())
	v := visit(t, s)
	if v.get("eu", "/").status != http.StatusOK {
		t.Fatal("the site does not serve")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Run(ctx); err != nil {
		t.Errorf("run: %v", err)
	}
	stacks := make([]byte, 1<<20)
	stacks = stacks[:runtime.Stack(stacks, true)]
	if strings.Contains(string(stacks), "demosite.(*Site).serve") {
		t.Errorf("a goroutine is left:\n%s", stacks)
	}
	for _, region := range s.Regions() {
		l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", strings.TrimPrefix(s.URL(region), "http://"))
		if err != nil {
			t.Errorf("the port of %s is still taken: %v", region, err)
			continue
		}
		_ = l.Close()
	}
	if err := s.Close(); err != nil {
		t.Errorf("close again: %v", err)
	}
}

func TestRunReportsBrokenListener(t *testing.T) {
	s := start(t, fast())
	_ = s.regions[1].listener.Close()
	if err := s.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "serve region eu") {
		t.Errorf("got %v, want an error that names region eu", err)
	}
	// The cleanup's Close must not complain again.
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}
