package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// grammar is a small program.
type grammar struct {
	Common

	Greet greetCommand `cmd:"" help:"Greet ${whom}."`
	Fail  failCommand  `cmd:"" help:"Fail."`
}

type greetCommand struct {
	Name string `help:"Whom to greet." default:"world"`
}

func (c *greetCommand) Run(ctx context.Context, streams Streams, root *grammar) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	root.Logger(streams.Err).Debug("about to greet", "name", c.Name)
	_, err := fmt.Fprintln(streams.Out, "hello", c.Name)
	return err
}

// failCommand fails with what the test gave it.
type failCommand struct {
	with error
}

func (c *failCommand) Run() error { return c.with }

// command runs the program to its end.
func command(t *testing.T, g *grammar, args ...string) (code int, out, errs string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	about := About{Name: "prog", Description: "A program.", Version: "v1.2.3", Vars: map[string]string{"whom": "somebody"}}
	code = Main(t.Context(), about, g, args, Streams{In: strings.NewReader(""), Out: &stdout, Err: &stderr})
	return code, stdout.String(), stderr.String()
}

func TestHelpAndVersionGoToStandardOutput(t *testing.T) {
	for _, tc := range []struct {
		args []string
		want string
	}{
		{nil, "Usage: prog"},
		{[]string{"--help"}, "Greet somebody."},
		{[]string{"greet", "--help"}, "$LASTMILE_NAME"},
		{[]string{"--version"}, "v1.2.3\n"},
	} {
		if code, out, errs := command(t, &grammar{}, tc.args...); code != 0 || !strings.Contains(out, tc.want) || errs != "" {
			t.Errorf("%v: got status %d, %q, %q; want 0 and %q on standard output", tc.args, code, out, errs, tc.want)
		}
	}
}

func TestBadFlagsAreUsageErrors(t *testing.T) {
	for want, args := range map[string][]string{
		"--speed":     {"greet", "--speed", "9"},
		"dance":       {"dance"},
		"expected":    {"--log-level", "debug"},
		"--log-level": {"greet", "--log-level", "loud"},
	} {
		code, out, errs := command(t, &grammar{}, args...)
		if code != ExitUsage || out != "" || !strings.HasPrefix(errs, "prog: ") || !strings.Contains(errs, want) {
			t.Errorf("%v: got status %d, %q, %q; want %d and an error that names %s", args, code, out, errs, ExitUsage, want)
		}
	}
}

func TestVariablesStandInForFlags(t *testing.T) {
	t.Setenv("LASTMILE_NAME", "moon")
	if _, out, _ := command(t, &grammar{}, "greet"); out != "hello moon\n" {
		t.Errorf("got %q, want the variable to win over the default", out)
	}
	if _, out, _ := command(t, &grammar{}, "greet", "--name", "sun"); out != "hello sun\n" {
		t.Errorf("got %q, want the flag to win over the variable", out)
	}
	t.Setenv("LASTMILE_LOG_LEVEL", "loud")
	if code, _, errs := command(t, &grammar{}, "greet"); code != ExitUsage || !strings.Contains(errs, "--log-level") {
		t.Errorf("got status %d and %q, want a bad value in a variable to be a usage error", code, errs)
	}
}

// TestVersionVariableIsNoFlag: images like to carry their version in a variable of this name.
func TestVersionVariableIsNoFlag(t *testing.T) {
	t.Setenv("LASTMILE_VERSION", "1")
	if code, out, errs := command(t, &grammar{}, "greet"); code != 0 || out != "hello world\n" {
		t.Errorf("got status %d, %q, %q; want the command to run", code, out, errs)
	}
}

func TestExitStatusAndErrors(t *testing.T) {
	usage := &Status{Code: ExitUsage, Err: errors.New("bad input")}
	for name, tc := range map[string]struct {
		err  error
		code int
		errs string
	}{
		"well":           {nil, 0, ""},
		"plain":          {errors.New("disk full"), ExitFailed, "prog: disk full\n"},
		"status":         {usage, ExitUsage, "prog: bad input\n"},
		"all was said":   {&Status{Code: ExitInvalid}, ExitInvalid, ""},
		"lines":          {errors.New("one\ntwo"), ExitFailed, "prog: one\nprog: two\n"},
		"status of many": {&Status{Code: ExitUsage, Err: errors.Join(errors.New("one"), errors.New("two"))}, ExitUsage, "prog: one\nprog: two\n"},
		"wrapped status": {fmt.Errorf("load: %w", usage), ExitUsage, "prog: load: bad input\n"},
		"joined status":  {errors.Join(usage, errors.New("and could not clean up")), ExitUsage, "prog: bad input\nprog: and could not clean up\n"},
	} {
		t.Run(name, func(t *testing.T) {
			code, out, errs := command(t, &grammar{Fail: failCommand{with: tc.err}}, "fail")
			if code != tc.code || out != "" || errs != tc.errs {
				t.Errorf("got status %d, %q, %q; want %d and %q", code, out, errs, tc.code, tc.errs)
			}
		})
	}
	if !errors.Is(usage, usage.Err) {
		t.Error("a status hides the error underneath")
	}
}

func TestVersionFallsBackToTheBuild(t *testing.T) {
	if got := Version("v9"); got != "v9" {
		t.Errorf("got %q, want the version that was set", got)
	}
	if got := Version(""); got == "" || len(got) > 12 {
		t.Errorf("got %q, want a short word for the build", got)
	}
}

func TestLogger(t *testing.T) {
	if _, _, errs := command(t, &grammar{}, "greet"); errs != "" {
		t.Errorf("got %q, want nothing below the default level", errs)
	}
	_, _, errs := command(t, &grammar{}, "greet", "--log-level", "debug")
	if !strings.Contains(errs, `level=DEBUG msg="about to greet" name=world`) {
		t.Errorf("got %q, want a line of text", errs)
	}
	_, _, errs = command(t, &grammar{}, "greet", "--log-level", "debug", "--log-format", "json")
	var line struct{ Level, Msg, Name string }
	if err := json.Unmarshal([]byte(errs), &line); err != nil || line.Level != "DEBUG" || line.Msg != "about to greet" || line.Name != "world" {
		t.Errorf("got %q (%v), want a line of JSON", errs, err)
	}
	var out bytes.Buffer
	log := Common{}.Logger(&out)
	log.Debug("quiet")
	log.Info("heard")
	if strings.Contains(out.String(), "quiet") || !strings.Contains(out.String(), "heard") {
		t.Errorf("zero value: got %q, want level info", out.String())
	}
}

func TestListenErrorsNameTheFlag(t *testing.T) {
	taken, err := Listen("127.0.0.1:0", "--listen")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	for address, want := range map[string]string{
		taken.Addr().String(): "the port is in use; stop the other program or choose another with --listen",
		"127.0.0.1":           "missing port",
		"127.0.0.1:http-ish":  "http-ish",
	} {
		l, err := Listen(address, "--listen")
		if err == nil {
			_ = l.Close()
			t.Errorf("%s: got a listener, want an error", address)
			continue
		}
		if !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "--listen") || !strings.Contains(err.Error(), address) {
			t.Errorf("%s: got %q, want the address, --listen and %q", address, err, want)
		}
	}
}

// pipes is a listener without a network, so that a test may have its own time.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
}

func newPipes() *pipes { return &pipes{conns: make(chan net.Conn), closed: make(chan struct{})} }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	close(p.closed)
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipes", Net: "unix"} }

// dial connects a client.
func (p *pipes) dial() net.Conn {
	client, server := net.Pipe()
	p.conns <- server
	return client
}

// request sends a GET on a connection.
func request(t *testing.T, conn net.Conn) {
	t.Helper()
	if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"); err != nil {
		t.Error(err)
	}
}

// serving starts Serve; stop ends its context and returns its error. In a synctest bubble a goroutine that Serve left behind fails
// the test.
func serving(l net.Listener, handler http.HandlerFunc) (stop func() error) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- Serve(ctx, l, handler) }()
	return func() error {
		cancel()
		return <-done
	}
}

func TestServeLetsRequestsFinish(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newPipes()
		stop := serving(l, func(w http.ResponseWriter, _ *http.Request) {
			time.Sleep(time.Second)
			_, _ = io.WriteString(w, "finished")
		})
		conn := l.dial()
		request(t, conn)
		synctest.Wait() // the handler is under way
		answer := make(chan string, 1)
		go func() {
			body, _ := io.ReadAll(conn)
			answer <- string(body)
		}()
		if err := stop(); err != nil {
			t.Errorf("got %v, want nil at the end of the context", err)
		}
		if got := <-answer; !strings.HasPrefix(got, "HTTP/1.1 200") || !strings.HasSuffix(got, "finished") {
			t.Errorf("got %q, want the answer of the request under way", got)
		}
	})
}

// TestServeCutsOffWhoDoesNotFinish: neither a slow request nor a connection that asks nothing makes a clean stop fail, or long.
func TestServeCutsOffWhoDoesNotFinish(t *testing.T) {
	for name, client := range map[string]func(t *testing.T, conn net.Conn){
		"slow request": request,
		"no request":   func(*testing.T, net.Conn) {},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newPipes()
				stop := serving(l, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
				conn := l.dial()
				client(t, conn)
				synctest.Wait()
				began := time.Now()
				if err := stop(); err != nil {
					t.Errorf("got %v, want nil", err)
				}
				if took := time.Since(began); took > 5*time.Second {
					t.Errorf("got a stop in %s, want at most 5 s", took)
				}
				_ = conn.SetReadDeadline(time.Now().Add(time.Second)) // refused where the other end has closed, as it should have
				if _, err := io.ReadAll(conn); errors.Is(err, os.ErrDeadlineExceeded) {
					t.Error("the connection is still open")
				}
			})
		})
	}
}

func TestServeReportsABrokenListener(t *testing.T) {
	l, err := Listen("127.0.0.1:0", "--listen")
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := Serve(t.Context(), l, http.NotFoundHandler()); err == nil || !strings.Contains(err.Error(), l.Addr().String()) {
		t.Errorf("got %v, want an error that names the address", err)
	}
}
