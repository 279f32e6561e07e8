package namespace

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Config describes the network that the command finds.
type Config struct {
	Address  netip.Addr // of the device, IPv4
	Address6 netip.Addr // of the device, IPv6; zero = the device has none, and no route for it
	Resolver netip.Addr // the only name server
	MTU      int        // bytes; at least 576, with Address6 1280

	// CongestionControl is the command's for TCP, such as "reno"; empty = the machine's default. A namespace may have reno, the default
	// that the kernel was built with, and what net.ipv4.tcp_allowed_congestion_control lists; for others the machine's default stays.
	CongestionControl string
}

// The least MTU that every host must take: RFC 791 section 3.2, RFC 8200 section 5. The largest is that of the IPv4 length field.
const (
	minMTU  = 576
	minMTU6 = 1280
	maxMTU  = 65535
)

func (c Config) validate() error {
	var errs []error
	if !c.Address.Is4() {
		errs = append(errs, fmt.Errorf("address: got %s, want one of IPv4", c.Address))
	}
	if c.Address6.IsValid() && (!c.Address6.Is6() || c.Address6.Is4In6()) {
		errs = append(errs, fmt.Errorf("address6: got %s, want one of IPv6, or none", c.Address6))
	}
	if !c.Resolver.IsValid() || c.Resolver.Is6() && !c.Address6.IsValid() {
		errs = append(errs, fmt.Errorf("resolver: got %s, want an address that the device can reach", c.Resolver))
	}
	least := minMTU
	if c.Address6.IsValid() {
		least = minMTU6
	}
	if c.MTU < least || c.MTU > maxMTU {
		errs = append(errs, fmt.Errorf("mtu: got %d bytes, want %d to %d", c.MTU, least, maxMTU))
	}
	return errors.Join(errs...)
}

// Device is the command's network as seen from outside: one IP packet per Read and per Write. Packets wait in it, up to 1000 of them,
// until they are read. Close ends a Read under way with os.ErrClosed and leaves the command, if it still runs, without a network.
// The device outlives the command; nothing of the namespace is left once both are gone.
type Device struct {
	*os.File
	CongestionControl string // which one the command's TCP connections got
}

// startLimit bounds the wait for the inner half, which takes some 10 ms on an idle machine.
const startLimit = 10 * time.Second

// Start starts the command like cmd.Start, in a namespace of its own. When it returns, the command runs: with the process id, process
// group, parent-death signal, environment, directory and files that cmd gives it. The caller waits for cmd, and closes the Device.
//
// Where the machine does not allow it, the error is an *UnavailableError. Credentials, other namespaces, a root directory or
// capabilities in cmd.SysProcAttr are refused.
func Start(cmd *exec.Cmd, config Config) (*Device, error) {
	if len(os.Args) > 1 && os.Args[1] == Command {
		// Without this, such a program would start itself without end.
		return nil, fmt.Errorf("start %s: this program is to call namespace.Child first thing in main", cmd.Path)
	}
	if err := config.validate(); err != nil {
		return nil, fmt.Errorf("start %s: configure the link's namespace: %w", cmd.Path, err)
	}
	if cmd.Err != nil {
		return nil, cmd.Err
	}
	if cmd.Dir != "" {
		// The error of the system's start would name this program, not the directory.
		if _, err := os.Stat(cmd.Dir); err != nil {
			return nil, fmt.Errorf("start %s: find its directory: %w", cmd.Path, err)
		}
	}
	attr, err := attributes(cmd.SysProcAttr)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", cmd.Path, err)
	}
	control, inner, err := controlPair()
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", cmd.Path, err)
	}
	defer control.Close()
	defer inner.Close()
	if err := tell(control, order{Config: config, Parent: os.Getpid(), Pdeathsig: attr.Pdeathsig}); err != nil {
		return nil, fmt.Errorf("start %s: %w", cmd.Path, err)
	}
	if err := startInner(cmd, attr, inner); err != nil {
		return nil, err
	}
	_ = inner.Close() // the child's end: with it gone here, the end of the inner half shows
	device, err := await(control, cmd.Path)
	if err != nil {
		_ = cmd.Process.Kill() // it has ended, or does not answer
		if how := cmd.Wait(); errors.Is(err, io.EOF) {
			return nil, unavailable(ObstacleInner, fmt.Errorf("it ended without a word: %w", how))
		}
		return nil, err
	}
	return device, nil
}

// attributes returns what the inner half is started with: the caller's wishes, in new namespaces, as the same user, with the
// capabilities that setting up takes.
func attributes(wish *syscall.SysProcAttr) (*syscall.SysProcAttr, error) {
	attr := syscall.SysProcAttr{}
	if wish != nil {
		attr = *wish
	}
	if attr.Credential != nil || attr.Chroot != "" || attr.Cloneflags != 0 || attr.Unshareflags != 0 ||
		attr.UidMappings != nil || attr.GidMappings != nil || attr.AmbientCaps != nil {
		return nil, errors.New("got SysProcAttr with credentials, root directory, namespaces or capabilities, want none: the link's namespace sets them")
	}
	attr.Cloneflags = unix.CLONE_NEWUSER | unix.CLONE_NEWNET | unix.CLONE_NEWNS
	attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: os.Geteuid(), HostID: os.Geteuid(), Size: 1}}
	attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: os.Getegid(), HostID: os.Getegid(), Size: 1}}
	attr.AmbientCaps = []uintptr{unix.CAP_NET_ADMIN, unix.CAP_SYS_ADMIN, unix.CAP_SETPCAP}
	return &attr, nil
}

// startInner starts this program as the inner half of cmd, and leaves cmd as it was but for its process.
func startInner(cmd *exec.Cmd, attr *syscall.SysProcAttr, inner *os.File) error {
	path, args, files, wish := cmd.Path, cmd.Args, cmd.ExtraFiles, cmd.SysProcAttr
	defer func() { cmd.Path, cmd.Args, cmd.ExtraFiles, cmd.SysProcAttr = path, args, files, wish }()
	if len(args) == 0 {
		args = []string{path}
	}
	const firstExtra = 3 // the descriptors of ExtraFiles follow stderr's
	cmd.ExtraFiles = append(slices.Clone(files), inner)
	cmd.Args = append([]string{os.Args[0], Command, strconv.Itoa(firstExtra + len(files)), path}, args...)
	cmd.Path = self
	cmd.SysProcAttr = attr
	err := cmd.Start()
	if errno := syscall.Errno(0); errors.As(err, &errno) && forbids(errno) {
		return unavailable(ObstacleUserNamespaces, err)
	}
	if err != nil {
		return fmt.Errorf("start %s: start the inner half: %w", path, err)
	}
	return nil
}

// self is the running program, even where its file has been replaced since.
const self = "/proc/self/exe"

// controlPair returns the two ends of the socket over which the halves talk, a message at a time: ours and the child's.
func controlPair() (*net.UnixConn, *os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("make control socket: %w", err)
	}
	outer, inner := os.NewFile(uintptr(fds[0]), "control"), os.NewFile(uintptr(fds[1]), "control of the inner half")
	defer outer.Close() // FileConn takes a duplicate
	conn, err := net.FileConn(outer)
	if err != nil {
		_ = inner.Close()
		return nil, nil, fmt.Errorf("make control socket: %w", err)
	}
	return conn.(*net.UnixConn), inner, nil
}

// order is what the inner half is told.
type order struct {
	Config    Config
	Parent    int            // process id; an inner half with another parent has outlived its own
	Pdeathsig syscall.Signal // zero = none
}

// report is what the inner half answers: first that all is set up, with the device in the message, and nothing more if it could
// become the command; or else what went wrong.
type report struct {
	CongestionControl string
	Obstacle          Obstacle      // empty = none
	Errno             syscall.Errno // the kernel's answer; zero = it was not the kernel
	Text              string        // what failed, without the words for Errno
}

// tell sends the inner half its order. It is in the socket before the inner half exists.
func tell(control *net.UnixConn, o order) error {
	text, err := json.Marshal(o)
	if err != nil {
		return fmt.Errorf("write order for the inner half: %w", err)
	}
	if _, err := control.Write(text); err != nil {
		return fmt.Errorf("send order to the inner half: %w", err)
	}
	return nil
}

// maxMessage is the longest message between the halves, in bytes.
const maxMessage = 4096

// await waits until the inner half has become the command at path. io.EOF means that it ended without saying why.
func await(control *net.UnixConn, path string) (*Device, error) {
	if err := control.SetReadDeadline(time.Now().Add(startLimit)); err != nil {
		return nil, fmt.Errorf("start %s: wait for the inner half: %w", path, err)
	}
	first, tun, err := receive(control)
	if err == nil {
		err = first.failure(path)
	}
	if err == nil && tun == nil {
		err = unavailable(ObstacleInner, errors.New("it gave no device"))
	}
	if err == nil {
		var last report
		if last, _, err = receive(control); errors.Is(err, io.EOF) {
			return &Device{File: tun, CongestionControl: first.CongestionControl}, nil // the exec closed the socket
		} else if err == nil {
			err = last.failure(path)
		}
	}
	if tun != nil {
		_ = tun.Close()
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = unavailable(ObstacleInner, fmt.Errorf("got no answer within %s", startLimit))
	}
	return nil, err
}

// receive reads one message, and the file in it if there is one.
func receive(control *net.UnixConn) (report, *os.File, error) {
	text, rights := make([]byte, maxMessage), make([]byte, unix.CmsgSpace(4)) // one descriptor
	n, oobn, _, _, err := control.ReadMsgUnix(text, rights)
	if err != nil {
		return report{}, nil, err
	}
	var file *os.File
	messages, err := unix.ParseSocketControlMessage(rights[:oobn])
	if err == nil && len(messages) > 0 {
		var fds []int
		if fds, err = unix.ParseUnixRights(&messages[0]); err == nil && len(fds) > 0 {
			// Non-blocking before NewFile, so that the runtime's poller takes it and Close ends a Read.
			err = unix.SetNonblock(fds[0], true)
			file = os.NewFile(uintptr(fds[0]), "/dev/net/tun")
		}
	}
	var r report
	if err = errors.Join(err, json.Unmarshal(text[:n], &r)); err != nil {
		if file != nil {
			_ = file.Close()
		}
		return report{}, nil, fmt.Errorf("read answer of the inner half: %w", err)
	}
	return r, file, nil
}

// failure is the error that the inner half reported, nil if it did not.
func (r report) failure(path string) error {
	switch {
	case r.Obstacle == "":
		return nil
	case r.Obstacle == obstacleExec:
		return fmt.Errorf("start %s: %w", path, r.Errno)
	case r.Errno == 0:
		return unavailable(r.Obstacle, errors.New(r.Text))
	default:
		return unavailable(r.Obstacle, fmt.Errorf("%s: %w", r.Text, r.Errno))
	}
}
