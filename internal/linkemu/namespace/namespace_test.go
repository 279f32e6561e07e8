package namespace

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The addresses of the tests' networks: RFC 2544 and RFC 3849 keep them from being anybody's.
var testConfig = Config{
	Address: netip.MustParseAddr("198.18.0.2"), Resolver: netip.MustParseAddr("198.18.0.1"), MTU: 1400, CongestionControl: "reno",
}

var (
	deviceAddr  = testConfig.Address
	device6Addr = netip.MustParseAddr("2001:db8::2")
	remote      = netip.MustParseAddrPort("203.0.113.7:4242")
	remote6     = netip.MustParseAddrPort("[2001:db8:1::7]:4242")
)

// checked tries this machine once.
var checked = sync.OnceValue(func() error { return Check(context.Background()) })

// available reports whether this machine can have namespaces. Where it cannot, it asserts that both Check and Start say so, and why, in
// words that help: that is then all that there is to test.
func available(t *testing.T) bool {
	t.Helper()
	err := checked()
	if err == nil {
		return true
	}
	_, startErr := Start(helper("describe"), testConfig)
	var want, got *UnavailableError
	if !errors.As(err, &want) || !errors.As(startErr, &got) {
		t.Fatalf("Check: got %v; Start: got %v; want an UnavailableError from both", err, startErr)
	}
	known := []Obstacle{ObstacleUserNamespaces, ObstacleMounts, ObstacleTUN, ObstacleNetwork}
	if !slices.Contains(known, want.Obstacle) || got.Obstacle != want.Obstacle || want.Advice == "" {
		t.Fatalf("Check: got %+v; Start: got %+v; want the same obstacle, one of %q, and advice", want, got, known)
	}
	t.Logf("this machine allows no namespace; only the refusal was tested: %v", err)
	return false
}

// helper returns a command that runs one of the helpers of this test binary.
func helper(args ...string) *exec.Cmd {
	cmd := exec.Command(self, args...)
	cmd.Env = append(os.Environ(), helperSign+"=1", "GORACE=atexit_sleep_ms=0") // the race detector's pause at the end is 1 s
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd
}

// start starts a helper and ends it with the test.
func start(t *testing.T, cmd *exec.Cmd, config Config) *Device {
	t.Helper()
	device, err := Start(cmd, config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = device.Close()
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return device
}

// next reads the next packet.
func next(t *testing.T, device *Device) packet {
	t.Helper()
	if err := device.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 1<<16)
	n, err := device.Read(b)
	if err != nil {
		t.Fatalf("read packet: %v", err)
	}
	p, err := parse(b[:n])
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestDatagramsCrossTheDevice(t *testing.T) {
	if !available(t) {
		return
	}
	config := testConfig
	config.Address6 = device6Addr
	for name, to := range map[string]netip.AddrPort{"IPv4": remote, "IPv6": remote6} {
		t.Run(name, func(t *testing.T) {
			cmd := helper("ask", to.String(), "question")
			var out bytes.Buffer
			cmd.Stdout, cmd.Stderr = &out, os.Stderr
			device := start(t, cmd, config)
			p := next(t, device)
			from := deviceAddr
			if to.Addr().Is6() {
				from = device6Addr
			}
			if p.proto != unix.IPPROTO_UDP || p.dst != to || p.src.Addr() != from || string(p.payload) != "question" {
				t.Fatalf("first packet: got %+v, want the datagram from %s to %s", p, from, to)
			}
			answer := packet{proto: unix.IPPROTO_UDP, src: p.dst, dst: p.src, payload: []byte("answer")}
			if _, err := device.Write(answer.bytes()); err != nil {
				t.Fatal(err)
			}
			if err := cmd.Wait(); err != nil || out.String() != "answer" {
				t.Fatalf("asker: got %q and %v, want the answer", out.String(), err)
			}
		})
	}
}

func TestStreamsComeInPacketsOfTheMTU(t *testing.T) {
	if !available(t) {
		return
	}
	device := start(t, helper("stream", remote.String(), "20000"), testConfig)
	syn := next(t, device)
	if syn.proto != unix.IPPROTO_TCP || syn.dst != remote || syn.src.Addr() != deviceAddr || syn.flags() != flagSYN {
		t.Fatalf("first packet: got %+v, want a SYN from %s to %s", syn, deviceAddr, remote)
	}
	if _, err := device.Write(syn.accept().bytes()); err != nil {
		t.Fatal(err)
	}
	const header, tcpHeader = 20, 20
	for got := 0; got < 8*(testConfig.MTU-header-tcpHeader); {
		p := next(t, device) // parse verifies the checksums
		if p.size > testConfig.MTU {
			t.Fatalf("packet: got %d bytes, want at most %d", p.size, testConfig.MTU)
		}
		if len(p.payload) > tcpHeader {
			got += p.size - header - tcpHeader
		}
	}
}

func TestTheCommandFindsOnlyTheLink(t *testing.T) {
	if !available(t) {
		return
	}
	dir := t.TempDir()
	inR, inW, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer inR.Close()
	defer inW.Close()
	cmd := helper("describe")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr, cmd.Dir, cmd.ExtraFiles = &out, os.Stderr, dir, []*os.File{inR, inW}
	cmd.Env = append(cmd.Env, "LINK_TEST=kept")
	cmd.SysProcAttr.Setpgid = true
	args := slices.Clone(cmd.Args)
	nsswitch := ""
	if _, err := os.Stat("/etc/nsswitch.conf"); err == nil {
		nsswitch = "files dns"
	}
	device := start(t, cmd, testConfig)
	if !slices.Equal(cmd.Args, args) || cmd.Path != self || len(cmd.ExtraFiles) != 2 {
		t.Errorf("command after Start: got %q of %s with %d extra files, want it as before", cmd.Args, cmd.Path, len(cmd.ExtraFiles))
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	var got description
	if err := json.Unmarshal(out.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	want := description{
		PID: cmd.Process.Pid, Group: cmd.Process.Pid, UID: os.Getuid(), GID: os.Getgid(), Dir: dir, Env: "kept", Args: args,
		Pdeathsig: int(syscall.SIGKILL), Files: []string{"3 " + link(t, inR), "4 " + link(t, inW)},
		Interfaces: []string{"lo up|loopback|running 127.0.0.1/8 ::1/128", "eth0 up|pointtopoint|running 198.18.0.2/32"},
		Capabilities: map[string]string{
			"CapInh": "0000000000000000", "CapPrm": "0000000000000000", "CapEff": "0000000000000000",
			"CapBnd": "0000000000000000", "CapAmb": "0000000000000000",
		},
		ResolvConf: "nameserver 198.18.0.1\n", Hosts: "127.0.0.1 localhost\n", Nsswitch: nsswitch, NestedNamespace: "",
	}
	gotJSON, _ := json.MarshalIndent(got, "", " ")
	wantJSON, _ := json.MarshalIndent(want, "", " ")
	if !bytes.Equal(gotJSON, wantJSON) {
		t.Errorf("inside: got %s\nwant %s", gotJSON, wantJSON)
	}
	if device.CongestionControl != "reno" { // every kernel has it, for every user
		t.Errorf("congestion control: got %q, want reno", device.CongestionControl)
	}
}

// link returns what a descriptor of ours is, as a process that inherits it sees it.
func link(t *testing.T, f *os.File) string {
	t.Helper()
	name, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(int(f.Fd())))
	if err != nil {
		t.Fatal(err)
	}
	return name
}

func TestTheDeviceIsQuiet(t *testing.T) {
	if !available(t) {
		return
	}
	t.Parallel()
	for name, address6 := range map[string]netip.Addr{"IPv4": {}, "both": device6Addr} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			config := testConfig
			config.Address6 = address6
			device := start(t, helper("wait"), config)
			// The kernel delays its first solicitations and reports by up to 1 s.
			if err := device.SetReadDeadline(time.Now().Add(1200 * time.Millisecond)); err != nil {
				t.Fatal(err)
			}
			b := make([]byte, 1<<16)
			if n, err := device.Read(b); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Fatalf("device of an idle command: got %x and %v, want no packet", b[:n], err)
			}
		})
	}
}

func TestExitStatusArrives(t *testing.T) {
	if !available(t) {
		return
	}
	cmd := helper("exit", "7")
	start(t, cmd, testConfig)
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) || exit.ExitCode() != 7 {
		t.Fatalf("Wait: got %v, want exit status 7", err)
	}
}

func TestTheCommandDiesWithItsParent(t *testing.T) {
	if !available(t) {
		return
	}
	held, holder, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	parent := helper("parent") // starts a command in a namespace that inherits the pipe, and both wait for ever
	parent.ExtraFiles = []*os.File{holder}
	parent.Stderr = os.Stderr
	out, err := parent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	_ = holder.Close()
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "started\n" {
		t.Errorf("parent: got %q and %v, want it to start a command", line, err)
	}
	_ = parent.Process.Kill()
	_ = parent.Wait()
	// The end of the pipe shows when the last process that holds it is gone.
	if err := held.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if n, err := held.Read(make([]byte, 1)); err != io.EOF {
		t.Fatalf("pipe that the command holds: got %d bytes and %v, want its end: the command outlives its parent", n, err)
	}
}

func TestCloseEndsRead(t *testing.T) {
	if !available(t) {
		return
	}
	device := start(t, helper("wait"), testConfig)
	ended := make(chan error, 1)
	go func() {
		_, err := device.Read(make([]byte, 1500))
		ended <- err
	}()
	if err := device.Close(); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-ended:
		if !errors.Is(err, os.ErrClosed) {
			t.Errorf("Read: got %v, want %v", err, os.ErrClosed)
		}
	case <-time.After(5 * time.Second):
		t.Fatal("Read: got no end by Close")
	}
}

func TestNothingIsLeft(t *testing.T) {
	if !available(t) {
		return
	}
	before := leftovers(t)
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			cmd := helper("ask", remote.String(), "question")
			var out bytes.Buffer
			cmd.Stdout = &out
			device, err := Start(cmd, testConfig)
			if err != nil {
				t.Error(err)
				return
			}
			b := make([]byte, 1<<16)
			n, err := device.Read(b)
			p, parseErr := parse(b[:n])
			if err = errors.Join(err, parseErr); err == nil {
				_, err = device.Write(packet{proto: unix.IPPROTO_UDP, src: p.dst, dst: p.src, payload: []byte("answer")}.bytes())
			}
			if err = errors.Join(err, cmd.Wait(), device.Close()); err != nil || out.String() != "answer" {
				t.Errorf("asker: got %q and %v, want the answer", out.String(), err)
			}
		})
	}
	all.Wait()
	after := leftovers(t)
	if !slices.Equal(after, before) {
		t.Errorf("left over: got %q, want %q", after, before)
	}
}

// leftovers lists what a namespace could leave behind: mounts, descriptors, children, goroutines, files in the temporary folder.
func leftovers(t *testing.T) []string {
	t.Helper()
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	// Of descriptors those that the package opens: the runtime and the testing package have their own.
	var fds []string
	names, err := filepath.Glob("/proc/self/fd/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if target, err := os.Readlink(name); err == nil && (strings.HasPrefix(target, "socket:") || target == tunPath) {
			fds = append(fds, target)
		}
	}
	children, err := filepath.Glob("/proc/self/task/*/children")
	if err != nil {
		t.Fatal(err)
	}
	var pids []byte
	for _, name := range children {
		text, _ := os.ReadFile(name) // a thread that has ended has none
		pids = append(pids, text...)
	}
	temporary, err := filepath.Glob(filepath.Join(os.TempDir(), "*link*"))
	if err != nil {
		t.Fatal(err)
	}
	return append([]string{string(mounts), strings.Join(fds, " "), string(pids), goroutines()}, temporary...)
}

// goroutines counts those that Start or the os/exec below it began.
func goroutines() string {
	stacks := make([]byte, 1<<20)
	stacks = stacks[:runtime.Stack(stacks, true)]
	return strconv.Itoa(strings.Count(string(stacks), "\ncreated by os/exec.") + strings.Count(string(stacks), "namespace.Start("))
}

func TestStartRefuses(t *testing.T) {
	if !available(t) {
		return
	}
	tests := map[string]struct {
		change func(*exec.Cmd, *Config)
		want   []string
	}{
		"a program that does not exist": {func(cmd *exec.Cmd, _ *Config) { cmd.Path = "/no/such/program" },
			[]string{"start /no/such/program: no such file or directory"}},
		"a program not found in PATH": {func(cmd *exec.Cmd, _ *Config) { *cmd = *exec.Command("no-such-program") },
			[]string{`"no-such-program": executable file not found`}},
		"a directory that does not exist": {func(cmd *exec.Cmd, _ *Config) { cmd.Dir = "/no/such/folder" },
			[]string{"find its directory: stat /no/such/folder: no such file"}},
		"credentials": {func(cmd *exec.Cmd, _ *Config) { cmd.SysProcAttr.Credential = &syscall.Credential{Uid: 1} },
			[]string{"got SysProcAttr with credentials"}},
		"a bad configuration": {func(_ *exec.Cmd, c *Config) { *c = Config{Address: device6Addr, Resolver: device6Addr, MTU: 100} },
			[]string{"address: got 2001:db8::2", "resolver: got 2001:db8::2", "mtu: got 100 bytes, want 576 to 65535"}},
		"an MTU too small for IPv6": {func(_ *exec.Cmd, c *Config) { c.Address6, c.MTU = device6Addr, 1279 },
			[]string{"mtu: got 1279 bytes, want 1280 to 65535"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			cmd, config := helper("wait"), testConfig
			tt.change(cmd, &config)
			before := leftovers(t)
			_, err := Start(cmd, config)
			if after := leftovers(t); !slices.Equal(after, before) {
				t.Errorf("left over: got %q, want %q", after, before)
			}
			var off *UnavailableError
			if err == nil || errors.As(err, &off) {
				t.Fatalf("got %v, want an error that is not the machine's", err)
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("got %q, want it to contain %q", err, want)
				}
			}
		})
	}
}

func TestCheckEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Check(ctx); !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v, want %v", err, context.Canceled)
	}
}

func TestChildByHand(t *testing.T) {
	for _, args := range [][]string{{}, {"x", "/bin/true", "true"}, {"0", "/bin/true", "true"}} {
		out, err := exec.Command(self, append([]string{Command}, args...)...).CombinedOutput()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != statusFailed || !strings.Contains(string(out), "not a command to use") {
			t.Errorf("inner half with %q: got %v and %q, want status %d and a hint", args, err, out, statusFailed)
		}
	}
}

func TestAdvice(t *testing.T) {
	tests := map[string]struct {
		policy   policy
		obstacle Obstacle
		err      error
		want     string
	}{
		"Debian's switch":           {policy{usernsClone: "0"}, ObstacleUserNamespaces, unix.EPERM, "kernel.unprivileged_userns_clone=1"},
		"none at all":               {policy{maxUser: "0", root: true}, ObstacleUserNamespaces, unix.ENOSPC, "user.max_user_namespaces"},
		"no network namespace":      {policy{maxUser: "9", maxNet: "0"}, ObstacleUserNamespaces, unix.ENOSPC, "user.max_net_namespaces"},
		"container's seccomp":       {policy{seccomp: true, root: true}, ObstacleUserNamespaces, unix.EPERM, "seccomp=unconfined"},
		"root of a bare container":  {policy{root: true, noSetfcap: true}, ObstacleUserNamespaces, unix.EPERM, "SETFCAP"},
		"Ubuntu's, at clone":        {policy{apparmorRestrict: "1"}, ObstacleUserNamespaces, unix.EACCES, "apparmor_restrict_unprivileged_userns=0"},
		"Ubuntu's, at mount":        {policy{apparmorRestrict: "1", profile: "unprivileged_userns (enforce)"}, ObstacleMounts, unix.EACCES, "apparmor_restrict_unprivileged_userns=0"},
		"Ubuntu's, for root":        {policy{apparmorRestrict: "1", root: true}, ObstacleMounts, unix.EPERM, "security module"},
		"Docker's AppArmor":         {policy{profile: "docker-default (enforce)", seccomp: true}, ObstacleMounts, unix.EACCES, "apparmor=unconfined"},
		"no resolv.conf":            {policy{}, ObstacleMounts, unix.ENOENT, "see that the file exists"},
		"no device":                 {policy{}, ObstacleTUN, unix.ENOENT, "modprobe tun"},
		"device of root":            {policy{}, ObstacleTUN, unix.EACCES, "chmod 0666 /dev/net/tun"},
		"device not in the cgroup":  {policy{root: true}, ObstacleTUN, unix.EPERM, "--device /dev/net/tun"},
		"device under Ubuntu's":     {policy{apparmorRestrict: "1"}, ObstacleTUN, unix.EPERM, "apparmor_restrict_unprivileged_userns=0"},
		"an error nobody foresaw":   {policy{}, ObstacleNetwork, unix.EIO, "kernel's log"},
		"namespaces, no known rule": {policy{}, ObstacleUserNamespaces, unix.EPERM, "chroot"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := tt.policy.advice(tt.obstacle, tt.err); !strings.Contains(got, tt.want) {
				t.Errorf("got %q, want it to contain %q", got, tt.want)
			}
		})
	}
}

// BenchmarkStart compares a command's life with and without the namespace: the difference is what the namespace costs a run, in time,
// setting up and taking down included.
func BenchmarkStart(b *testing.B) {
	if err := checked(); err != nil {
		b.Fatal(err)
	}
	b.Run("plain", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if err := helper("exit", "0").Run(); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("namespace", func(b *testing.B) {
		b.ReportAllocs()
		var starting, closing time.Duration
		for b.Loop() {
			cmd := helper("exit", "0")
			began := time.Now()
			device, err := Start(cmd, testConfig)
			if err != nil {
				b.Fatal(err)
			}
			starting += time.Since(began)
			if err := cmd.Wait(); err != nil {
				b.Fatal(err)
			}
			began = time.Now()
			if err := device.Close(); err != nil {
				b.Fatal(err)
			}
			closing += time.Since(began)
		}
		b.ReportMetric(float64(starting.Microseconds())/1000/float64(b.N), "ms-to-exec/op")
		b.ReportMetric(float64(closing.Microseconds())/1000/float64(b.N), "ms-to-close/op")
	})
}
