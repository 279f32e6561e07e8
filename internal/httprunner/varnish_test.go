package httprunner_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"lastmile/internal/cachestate"
	"lastmile/internal/httprunner"
	"lastmile/internal/runs"
	"lastmile/internal/scenario"
)

// origin is what nginx serves: an answer says by its header what caches may do, and which request of nginx's it was made for.
const origin = `
daemon off; master_process off; error_log stderr warn; pid %[1]s/nginx.pid;
events { worker_connections 64; }
http {
  access_log off; default_type text/plain;
  client_body_temp_path %[1]s/body; proxy_temp_path %[1]s/proxy; fastcgi_temp_path %[1]s/fastcgi; uwsgi_temp_path %[1]s/uwsgi; scgi_temp_path %[1]s/scgi;
  server {
    listen unix:%[1]s/origin.sock;
    location ~ /fresh   { add_header Cache-Control "public, max-age=300"; add_header X-Made-For $request_id; return 200 "fresh"; }
    location ~ /grace   { add_header Cache-Control "public, max-age=2, stale-while-revalidate=300"; add_header X-Made-For $request_id; return 200 "grace"; }
    location ~ /private { add_header Cache-Control "private, max-age=300"; add_header X-Made-For $request_id; return 200 "private"; }
    location ~ /shared  { add_header Cache-Control "max-age=300"; add_header X-Made-For $request_id; return 200 "shared"; }
    location / { return 404 "none"; }
  }
}
`

// edgeVCL is Varnish as it comes, but that paths below /told/ say in X-Cache what it did, as many set-ups have it, and that paths with
// leak in them are kept for all, whatever the request carries and the answer says: a mistake that is easily made.
const edgeVCL = `vcl 4.1;
backend origin { .path = "%s/origin.sock"; }
sub vcl_recv { unset req.http.X-State; if (req.url ~ "leak") { return (hash); } }
sub vcl_hit { set req.http.X-State = "HIT"; if (obj.ttl <= 0s) { set req.http.X-State = "STALE"; } }
sub vcl_miss { set req.http.X-State = "MISS"; }
sub vcl_pass { set req.http.X-State = "PASS"; }
sub vcl_backend_response { if (bereq.url ~ "leak") { set beresp.ttl = 300s; return (deliver); } }
sub vcl_deliver { if (req.url ~ "^/told/") { set resp.http.X-Cache = req.http.X-State; unset resp.http.X-Varnish; } }
`

// server is a program that runs until it is stopped, or the test ends.
type server struct {
	name  string
	cmd   *exec.Cmd
	log   *lockedBuffer
	ended chan struct{}
	once  sync.Once
}

// lockedBuffer is what a program says.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// debian finds a program of a Debian package, also where /usr/sbin is not on the path, as it is for people who are not root.
func debian(t *testing.T, name, pkg string) string {
	t.Helper()
	for _, candidate := range []string{name, "/usr/sbin/" + name} {
		if path, err := exec.LookPath(candidate); err == nil {
			return path
		}
	}
	t.Fatalf("%s is required: got none on PATH or in /usr/sbin; install it: apt-get install -y --no-install-recommends %s", name, pkg)
	return ""
}

// run starts a program.
func run(t *testing.T, path string, args ...string) *server {
	t.Helper()
	s := &server{name: filepath.Base(path), cmd: exec.Command(path, args...), log: &lockedBuffer{}, ended: make(chan struct{})}
	s.cmd.Stdout, s.cmd.Stderr = s.log, s.log
	if err := s.cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", s.name, err)
	}
	go func() {
		defer close(s.ended)
		_ = s.cmd.Wait() // as it was told to end, or the test says what it waited for in vain
	}()
	t.Cleanup(s.stop)
	return s
}

// stop ends the program by its own id, and waits for it.
func (s *server) stop() {
	s.once.Do(func() {
		_ = s.cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-s.ended:
		case <-time.After(20 * time.Second):
			_ = s.cmd.Process.Kill()
			<-s.ended
		}
	})
}

// await waits until ready has something to say.
func (s *server) await(t *testing.T, what string, ready func() string) string {
	t.Helper()
	limit := time.After(60 * time.Second)
	for {
		if got := ready(); got != "" {
			return got
		}
		select {
		case <-s.ended:
			t.Fatalf("%s ended before there was %s; it said:\n%s", s.name, what, s.log)
		case <-limit:
			t.Fatalf("%s: got no %s within a minute; it said:\n%s", s.name, what, s.log)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// varnish starts nginx, and Varnish in front of it, and returns the URL of the latter and the former.
func varnish(t *testing.T) (url string, behind *server) {
	t.Helper()
	daemon, admin, nginx := debian(t, "varnishd", "varnish"), debian(t, "varnishadm", "varnish"), debian(t, "nginx", "nginx")
	dir, err := os.MkdirTemp("", "lm") // short: the path of a socket has room for 100 bytes
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	for name, text := range map[string]string{"nginx.conf": fmt.Sprintf(origin, dir), "edge.vcl": fmt.Sprintf(edgeVCL, dir)} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	behind = run(t, nginx, "-p", dir, "-e", "stderr", "-c", filepath.Join(dir, "nginx.conf"))
	behind.await(t, "socket", func() string {
		if _, err := os.Stat(filepath.Join(dir, "origin.sock")); err != nil {
			return ""
		}
		return "there"
	})
	work := filepath.Join(dir, "varnish")
	edge := run(t, daemon, "-F", "-n", work, "-j", "none", "-a", "127.0.0.1:0", "-T", "127.0.0.1:0", "-f", filepath.Join(dir, "edge.vcl"), "-s", "malloc,16m")
	address := edge.await(t, "address", func() string {
		out, err := exec.Command(admin, "-n", work, "-t", "5", "debug.listen_address").Output()
		if fields := strings.Fields(string(out)); err == nil && len(fields) >= 3 { // a0 127.0.0.1 40000
			return fields[1] + ":" + fields[2]
		}
		return ""
	})
	return "http://" + address, behind
}

// states are what a cache did for each request of a run.
func states(requests []runs.Request) (out []cachestate.State) {
	for _, q := range requests {
		out = append(out, q.Cache.State)
	}
	return out
}

func cached(states ...string) []scenario.Assertion { return []scenario.Assertion{{Cache: states}} }

// TestVarnishInFrontOfNginx asks a real cache in front of a real origin: what asserts of the cache say is what it did.
func TestVarnishInFrontOfNginx(t *testing.T) {
	url, behind := varnish(t)
	for _, tt := range []struct {
		name  string
		steps []scenario.Step
		want  string
		made  string // by which requests the origin made the first answer and the second one
	}{
		{"miss, then hit, by X-Varnish", []scenario.Step{
			{URL: "/plain/fresh", Assert: cached("miss")}, {URL: "/plain/fresh", Assert: cached("hit")}, {URL: "/plain/fresh?other", Assert: cached("miss")},
		}, "[miss hit miss]", "one"},
		{"miss, then hit, by X-Cache", []scenario.Step{{URL: "/told/fresh", Assert: cached("miss")}, {URL: "/told/fresh", Assert: cached("hit")}}, "[miss hit]", "one"},
		{"private is fetched each time", []scenario.Step{{URL: "/told/private", Assert: cached("miss")}, {URL: "/told/private", Assert: cached("miss", "bypass")}}, "", "two"},
		{"a request with a body passes", []scenario.Step{{URL: "/told/fresh", Method: "POST", Body: "x", Assert: []scenario.Assertion{{Status: []string{"200", "405"}}, {Cache: []string{"bypass"}}}}}, "[bypass]", ""},
		{"an authorised request passes", []scenario.Step{{URL: "/told/fresh", Headers: map[string]string{"Authorization": "Bearer x"}, Assert: cached("bypass")}}, "[bypass]", ""},
		{"a cookie passes", []scenario.Step{{URL: "/told/fresh", Headers: map[string]string{"Cookie": "session=1"}, Assert: cached("bypass")}}, "[bypass]", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			j := plain(t)
			made := make([]string, len(tt.steps))
			for i, step := range tt.steps {
				step.URL, step.Extract = url+step.URL, map[string]scenario.Extractor{"made": {Header: "X-Made-For"}}
				wantCause(t, j.step(t, step), "", "")
				made[i], _ = j.scope.Expand("${made}")
			}
			if tt.made != "" && (made[0] == made[1]) != (tt.made == "one") {
				t.Errorf("got answers that the origin made for its requests %q, want %s", made[:2], tt.made)
			}
			if got := fmt.Sprint(states(j.Close().Requests)); tt.want != "" && got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
	t.Run("a hit that is none fails", func(t *testing.T) {
		wantCause(t, plain(t).step(t, scenario.Step{URL: url + "/plain/fresh?new", Assert: cached("hit")}), runs.ClassAssertion, "^cache: got miss, want hit$")
	})
	t.Run("age grows", func(t *testing.T) { ages(t, url) })
	t.Run("exposed", func(t *testing.T) { leaks(t, url) })
	t.Run("stale, and when the origin is down", func(t *testing.T) { graces(t, url, behind) })
}

// waiting polls a step for as long as it takes.
func waiting(step scenario.Step) scenario.Step {
	step.Poll = &scenario.Poll{Every: scenario.Duration(100 * time.Millisecond), For: scenario.Duration(20 * time.Second)}
	return step
}

// ages waits until a cached answer says that it is a second old.
func ages(t *testing.T, url string) {
	j, one := plain(t), 1.0
	wantCause(t, j.within(t, waiting(scenario.Step{URL: url + "/told/fresh?age", Assert: []scenario.Assertion{{Header: "Age", AtLeast: &one}, {Cache: []string{"hit"}}}}), 25*time.Second), "", "")
	requests := j.Close().Requests
	last := requests[len(requests)-1]
	if !last.Cache.HasAge || last.Cache.Age < time.Second || last.Cache.State != cachestate.Hit || requests[0].Cache.Age != 0 {
		t.Errorf("got %+v at first and %+v in the end, want an age of a second at least in the end", requests[0].Cache, last.Cache)
	}
}

// leaks asks for what the edge keeps for all although it ought not to.
func leaks(t *testing.T, url string) {
	authorised := map[string]string{"Authorization": "Bearer ${secrets.KEY}"}
	for path, want := range map[string]string{"/told/shared/leak": "Authorization", "/told/private/leak": "private", "/told/fresh/leak": ""} {
		j := plain(t)
		for range 2 {
			wantCause(t, j.step(t, scenario.Step{URL: url + path, Headers: authorised}), "", "")
		}
		requests := j.Close().Requests
		if got := fmt.Sprint(states(requests)); got != "[miss hit]" || requests[0].Exposed != "" {
			t.Errorf("%s: got %s, exposed %q by the first, want a miss that exposes nothing and a hit", path, got, requests[0].Exposed)
		}
		if got := requests[1].Exposed; (got == "") != (want == "") || !strings.Contains(got, want) {
			t.Errorf("%s: got exposed %q, want something about %q", path, got, want)
		}
	}
}

// graces waits until Varnish gives an answer that is too old while it fetches a new one, and looks at what is left when the origin is gone.
func graces(t *testing.T, url string, behind *server) {
	j := begin(t, scenario.Scenario{}, httprunner.Options{})
	wantCause(t, j.step(t, scenario.Step{URL: url + "/told/grace", Assert: cached("miss")}), "", "")
	wantCause(t, j.within(t, waiting(scenario.Step{URL: url + "/told/grace", Assert: cached("stale")}), 25*time.Second), "", "")
	wantCause(t, j.within(t, waiting(scenario.Step{URL: url + "/told/grace", Assert: cached("hit")}), 25*time.Second), "", "")
	behind.stop()
	wantCause(t, j.step(t, scenario.Step{URL: url + "/told/fresh", Assert: cached("hit")}), "", "")
	wantCause(t, j.within(t, waiting(scenario.Step{URL: url + "/told/grace", Assert: cached("stale")}), 25*time.Second), "", "")
	wantCause(t, j.step(t, scenario.Step{URL: url + "/told/fresh?gone"}), runs.ClassHTTP5xx, "got 503")
	stale := 0
	for _, q := range j.Close().Requests {
		if q.Cache.State == cachestate.Stale && q.Cache.Age >= time.Second {
			stale++
		}
	}
	if stale < 2 {
		t.Errorf("got %d stale answers that say how old they are, want one with the origin there and one without", stale)
	}
}
