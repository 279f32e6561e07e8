package namespace

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"unsafe"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Command is the first argument of a program that is to be the inner half.
const Command = "enter-link-namespace"

// nothing, in place of a descriptor, is the command that Check runs: it ends at once.
const nothing = "nothing"

// statusFailed is the exit status of an inner half that could not become its command. The reason goes to the outer half.
const statusFailed = 125

// Child is the inner half. A program that uses Start calls it with os.Args before it does anything else: it returns at once in an
// ordinary start, and does not return where the program is to become a command inside a namespace.
func Child(args []string) {
	if len(args) < 2 || args[1] != Command {
		return
	}
	if len(args) == 3 && args[2] == nothing {
		os.Exit(0)
	}
	control, err := controlOf(args)
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v: this is how the program starts itself, not a command to use\n", Command, err)
		os.Exit(statusFailed)
	}
	// Capabilities and the parent-death signal belong to the thread, which the exec makes the process.
	runtime.LockOSThread()
	if r := become(control, args[3], args[4:]); r.Obstacle != "" {
		_ = send(control, r, -1) // nobody there: no one to tell
	}
	os.Exit(statusFailed)
}

// controlOf returns the descriptor of the control socket, which no command will inherit.
func controlOf(args []string) (int, error) {
	if len(args) < 5 {
		return 0, fmt.Errorf("got %d arguments, want a descriptor, a path and an argument list", len(args)-2)
	}
	fd, err := strconv.Atoi(args[2])
	if err != nil {
		return 0, fmt.Errorf("read descriptor: %w", err)
	}
	if kind, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE); err != nil || kind != unix.SOCK_SEQPACKET {
		return 0, fmt.Errorf("descriptor: got %d, want a control socket", fd)
	}
	unix.CloseOnExec(fd)
	return fd, nil
}

// become sets the namespace up and turns this process into the command. It returns only to say what failed.
func become(control int, path string, args []string) report {
	text := make([]byte, maxMessage)
	n, err := unix.Read(control, text)
	if err != nil {
		return failed(ObstacleInner, "read order", err)
	}
	var o order
	if err := json.Unmarshal(text[:n], &o); err != nil {
		return failed(ObstacleInner, "read order", err)
	}
	if err := mountFiles(o.Config.Resolver); err != nil {
		return failed(ObstacleMounts, "mount", err)
	}
	tun, err := openTUN()
	if err != nil {
		return failed(ObstacleTUN, "open "+tunPath, err)
	}
	if err := configure(o.Config); err != nil {
		return failed(ObstacleNetwork, "configure", err)
	}
	if err := send(control, report{CongestionControl: congestionControl(o.Config.CongestionControl)}, tun); err != nil {
		return failed(ObstacleInner, "hand the device out", err)
	}
	if err := dropCapabilities(); err != nil {
		return failed(ObstacleInner, "drop capabilities", err)
	}
	if o.Pdeathsig != 0 {
		// Changes of credentials may have cleared it.
		if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(o.Pdeathsig), 0, 0, 0); err != nil {
			return failed(ObstacleInner, "set parent-death signal", err)
		}
		if os.Getppid() != o.Parent {
			return failed(ObstacleInner, "look for the parent", unix.ESRCH)
		}
	}
	return failed(obstacleExec, "exec", syscall.Exec(path, args, os.Environ()))
}

// failed puts an error into a report. Its number goes apart, so that the outer half's error is one to compare with.
func failed(o Obstacle, verb string, err error) report {
	r := report{Obstacle: o, Text: verb + ": " + err.Error()}
	if errors.As(err, &r.Errno) {
		r.Text = strings.TrimSuffix(r.Text, ": "+r.Errno.Error())
	}
	return r
}

// send tells the outer half, and gives it the file with that descriptor unless it is negative.
func send(control int, r report, fd int) error {
	text, err := json.Marshal(r)
	if err != nil {
		return err
	}
	var rights []byte
	if fd >= 0 {
		rights = unix.UnixRights(fd)
	}
	return unix.Sendmsg(control, text, rights, nil, unix.MSG_NOSIGNAL)
}

// mountFiles puts files of our own over those by which names are looked up, so that every look-up is a packet on the link. They live
// in a file system that no folder shows and that goes with the namespace.
func mountFiles(resolver netip.Addr) error {
	files := []struct {
		path, text string
		need       bool
	}{
		{"/etc/resolv.conf", "nameserver " + resolver.String() + "\n", true}, // without one, libraries ask 127.0.0.1
		{"/etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n", false},
		{"/etc/hosts", "127.0.0.1 localhost\n", false},
		{"/run/nscd/socket", "", false}, // a cache that asks over the machine's own network
	}
	// Nothing mounted here shows outside, while what is unmounted outside goes here too.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil {
		return fmt.Errorf("make / a slave: %w", err)
	}
	targets := make([]int, len(files))
	for i, file := range files {
		fd, err := unix.Open(file.path, unix.O_PATH|unix.O_CLOEXEC, 0) // follows links: what they lead to is what is read
		if err != nil && file.need {
			return fmt.Errorf("find %s: %w", file.path, err)
		}
		targets[i] = fd // -1 where there is none, or none that the command could open
	}
	// /etc exists, and hiding it for a moment leaves no trace of a folder of ours.
	const hidden = "/etc"
	if err := unix.Mount("tmpfs", hidden, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "mode=0755,size=64k"); err != nil {
		return fmt.Errorf("mount a file system for the resolver's files: %w", err)
	}
	for i, file := range files {
		if targets[i] < 0 {
			continue
		}
		ours := filepath.Join(hidden, strconv.Itoa(i))
		if err := os.WriteFile(ours, []byte(file.text), 0o444); err != nil {
			return err
		}
		if err := unix.Mount(ours, fmt.Sprintf("/proc/self/fd/%d", targets[i]), "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("put ours over %s: %w", file.path, err)
		}
		_ = unix.Close(targets[i])
	}
	if err := unix.Unmount(hidden, unix.MNT_DETACH); err != nil {
		return fmt.Errorf("unmount the file system for the resolver's files: %w", err)
	}
	return nil
}

const (
	tunPath = "/dev/net/tun"
	// deviceName is not "tun0", as Chromium leaves interfaces of that name out when it asks itself whether it is online.
	deviceName = "eth0"
	queue      = 1000 // packets that wait for the outer half
)

// openTUN makes the device. It has to be opened here: a TUN device belongs to the network namespace of who opened it.
func openTUN() (int, error) {
	fd, err := unix.Open(tunPath, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	request, err := unix.NewIfreq(deviceName)
	if err != nil {
		return -1, err
	}
	request.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, request); err != nil {
		return -1, fmt.Errorf("make a device: %w", err)
	}
	return fd, nil
}

// configure gives the device its addresses and routes, and brings it up.
func configure(config Config) error {
	link, err := netlink.LinkByName(deviceName)
	if err != nil {
		return fmt.Errorf("find %s: %w", deviceName, err)
	}
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("find lo: %w", err)
	}
	// No link-local address is made, so nothing of the kernel's own (router solicitation, duplicate address detection, multicast
	// listener report) is sent. A kernel without IPv6 sends none of it anyway.
	const noAddresses = 1 // IN6_ADDR_GEN_MODE_NONE, linux/if_link.h
	if err := netlink.LinkSetIP6AddrGenMode(link, noAddresses); err != nil && (config.Address6.IsValid() || !errors.Is(err, unix.EAFNOSUPPORT)) {
		return fmt.Errorf("keep IPv6 quiet: %w", err)
	}
	steps := []struct {
		verb string
		do   func() error
	}{
		{"set mtu", func() error { return netlink.LinkSetMTU(link, config.MTU) }},
		{"set queue", func() error { return netlink.LinkSetTxQLen(link, queue) }},
		{"turn multicast off", func() error { return netlink.LinkSetMulticastOff(link) }},
		{"turn arp off", func() error { return netlink.LinkSetARPOff(link) }},
		{"set address", func() error { return netlink.AddrAdd(link, &netlink.Addr{IPNet: host(config.Address)}) }},
		{"bring lo up", func() error { return netlink.LinkSetUp(lo) }},
		{"bring the device up", func() error { return netlink.LinkSetUp(link) }},
		{"set route", func() error { return netlink.RouteAdd(defaultRoute(link, 32)) }},
	}
	for _, step := range steps {
		if err := step.do(); err != nil {
			return fmt.Errorf("%s: %w", step.verb, err)
		}
	}
	if !config.Address6.IsValid() {
		return nil
	}
	// Without detection of duplicates the address is good at once.
	if err := netlink.AddrAdd(link, &netlink.Addr{IPNet: host(config.Address6), Flags: unix.IFA_F_NODAD}); err != nil {
		return fmt.Errorf("set IPv6 address: %w", err)
	}
	if err := netlink.RouteAdd(defaultRoute(link, 128)); err != nil {
		return fmt.Errorf("set IPv6 route: %w", err)
	}
	return nil
}

// host returns the network of one address.
func host(a netip.Addr) *net.IPNet {
	return &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(a.BitLen(), a.BitLen())}
}

// defaultRoute leads every address to the link, of which the other end is the only neighbour: no gateway needs a name.
func defaultRoute(link netlink.Link, bits int) *netlink.Route {
	return &netlink.Route{
		LinkIndex: link.Attrs().Index, Scope: netlink.SCOPE_LINK,
		Dst: &net.IPNet{IP: make(net.IP, bits/8), Mask: net.CIDRMask(0, bits)},
	}
}

// congestionControl sets the namespace's congestion control if there is a wish and the kernel grants it, and returns the one there
// is; "" if the kernel does not tell.
func congestionControl(wish string) string {
	const sysctl = "/proc/sys/net/ipv4/tcp_congestion_control"
	if wish != "" {
		_ = os.WriteFile(sysctl, []byte(wish), 0) // what came of it is read next
	}
	now, _ := os.ReadFile(sysctl)
	return strings.TrimSpace(string(now))
}

// dropCapabilities leaves this thread, and what it executes, without any: the bounding set too, or a command of user 0 would have
// them all again.
func dropCapabilities() error {
	if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); err != nil {
		return fmt.Errorf("clear the ambient set: %w", err)
	}
	const mostEver = 64 // the sets have so many bits
	for c := range uintptr(mostEver) {
		err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0)
		if errors.Is(err, unix.EINVAL) {
			break // the kernel has no more
		}
		if err != nil {
			return fmt.Errorf("drop %d from the bounding set: %w", c, err)
		}
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var none [2]unix.CapUserData // this version's sets are two words long
	_, _, errno := unix.RawSyscall(unix.SYS_CAPSET, uintptr(unsafe.Pointer(&header)), uintptr(unsafe.Pointer(&none)), 0)
	if errno != 0 {
		return fmt.Errorf("clear the permitted set: %w", errno)
	}
	return nil
}
