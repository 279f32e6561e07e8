package namespace

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// helperSign in the environment makes this test binary one of the commands that the tests run inside.
const helperSign = "LINK_NAMESPACE_HELPER"

func TestMain(m *testing.M) {
	Child(os.Args)
	if os.Getenv(helperSign) == "" {
		os.Exit(m.Run())
	}
	if err := help(os.Args[1], os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, "helper:", err)
		os.Exit(1)
	}
}

// help is what happens inside.
func help(name string, args []string) error {
	switch name {
	case "ask": // sends a datagram and prints the answer
		conn, err := net.Dial("udp", args[0])
		if err != nil {
			return err
		}
		if _, err := io.WriteString(conn, args[1]); err != nil {
			return err
		}
		b := make([]byte, 100)
		n, err := conn.Read(b)
		fmt.Print(string(b[:n]))
		return err
	case "stream": // sends so many bytes over TCP
		conn, err := net.Dial("tcp", args[0])
		if err != nil {
			return err
		}
		n, err := strconv.Atoi(args[1])
		if err != nil {
			return err
		}
		if _, err := conn.Write(make([]byte, n)); err != nil {
			return err
		}
		_, err = io.Copy(io.Discard, conn)
		return err
	case "describe":
		d, err := describe()
		if err != nil {
			return err
		}
		return json.NewEncoder(os.Stdout).Encode(d)
	case "wait": // until it is killed
		for {
			_ = syscall.Pause() // the Go runtime's own signals end it
		}
	case "parent": // starts a command that holds descriptor 3
		runtime.LockOSThread()
		cmd := helper("wait")
		cmd.ExtraFiles = []*os.File{os.NewFile(3, "held")}
		if _, err := Start(cmd, testConfig); err != nil {
			return err
		}
		fmt.Println("started")
		return cmd.Wait()
	case "exit":
		status, err := strconv.Atoi(args[0])
		if err != nil {
			return err
		}
		os.Exit(status)
	}
	return fmt.Errorf("got %q, want a helper", name)
}

// description is what a command finds inside.
type description struct {
	PID, Group, UID, GID int
	Dir, Env             string
	Args                 []string
	Pdeathsig            int
	Files                []string // pipes, sockets and TUN devices above stderr
	Interfaces           []string
	Capabilities         map[string]string
	ResolvConf, Hosts    string
	Nsswitch             string // where hosts are looked up
	NestedNamespace      string // why no user namespace can be made inside, as a browser's sandbox does
}

func describe() (d description, err error) {
	d.PID, d.Group, d.UID, d.GID, d.Args, d.Env = os.Getpid(), syscall.Getpgrp(), os.Getuid(), os.Getgid(), os.Args, os.Getenv("LINK_TEST")
	runtime.LockOSThread() // the main thread, which alone has the signal
	var signal int32
	if err := unix.Prctl(unix.PR_GET_PDEATHSIG, uintptr(unsafe.Pointer(&signal)), 0, 0, 0); err != nil {
		return d, err
	}
	d.Pdeathsig = int(signal)
	if d.Dir, err = os.Getwd(); err != nil {
		return d, err
	}
	for fd := 3; fd < 20; fd++ {
		// Files and the like are the Go runtime's own.
		name, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(fd))
		if err == nil && (name == tunPath || strings.HasPrefix(name, "pipe:") || strings.HasPrefix(name, "socket:")) {
			d.Files = append(d.Files, strconv.Itoa(fd)+" "+name)
		}
	}
	interfaces, err := net.Interfaces()
	if err != nil {
		return d, err
	}
	for _, i := range interfaces {
		addresses, err := i.Addrs()
		if err != nil {
			return d, err
		}
		line := i.Name + " " + i.Flags.String()
		for _, a := range addresses {
			line += " " + a.String()
		}
		d.Interfaces = append(d.Interfaces, line)
	}
	status, err := os.ReadFile("/proc/thread-self/status")
	if err != nil {
		return d, err
	}
	d.Capabilities = map[string]string{}
	for line := range strings.Lines(string(status)) {
		if key, value, _ := strings.Cut(line, ":"); strings.HasPrefix(key, "Cap") {
			d.Capabilities[key] = strings.TrimSpace(value)
		}
	}
	resolv, err := os.ReadFile("/etc/resolv.conf")
	hosts, hostsErr := os.ReadFile("/etc/hosts")
	nsswitch, _ := os.ReadFile("/etc/nsswitch.conf") // not every machine has one
	_, d.Nsswitch, _ = strings.Cut(strings.TrimSpace(string(nsswitch)), "hosts: ")
	d.ResolvConf, d.Hosts = string(resolv), string(hosts)
	attr := &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWUSER | unix.CLONE_NEWPID | unix.CLONE_NEWNET}
	process, nested := os.StartProcess(self, []string{"nested", "exit", "0"}, &os.ProcAttr{Sys: attr, Env: os.Environ()})
	if nested != nil {
		d.NestedNamespace = nested.Error()
	} else if _, err := process.Wait(); err != nil {
		return d, err
	}
	return d, errors.Join(err, hostsErr)
}

// packet is an IP packet with UDP or TCP in it. For TCP, payload begins at the segment's header.
type packet struct {
	proto    byte
	src, dst netip.AddrPort
	payload  []byte
	size     int // as read
}

const flagSYN, flagACK = 0x02, 0x10

func (p packet) flags() byte { return p.payload[13] }

// parse reads a packet and verifies its checksums.
func parse(b []byte) (p packet, err error) {
	p.size = len(b)
	if len(b) < 28 {
		return p, fmt.Errorf("packet %x: got %d bytes, want a whole one", b, len(b))
	}
	var src, dst netip.Addr
	var segment []byte
	switch b[0] >> 4 {
	case 4:
		header := int(b[0]&15) * 4
		if sum(0, b[:header]) != 0 {
			return p, fmt.Errorf("packet %x: got a wrong header checksum", b)
		}
		p.proto, segment = b[9], b[header:]
		src, dst = netip.AddrFrom4([4]byte(b[12:])), netip.AddrFrom4([4]byte(b[16:]))
	case 6:
		p.proto, segment = b[6], b[40:]
		src, dst = netip.AddrFrom16([16]byte(b[8:])), netip.AddrFrom16([16]byte(b[24:]))
	}
	if (p.proto != unix.IPPROTO_UDP && p.proto != unix.IPPROTO_TCP) || len(segment) < 8 {
		return p, fmt.Errorf("packet %x: want UDP or TCP", b)
	}
	if sum(pseudo(src, dst, p.proto, len(segment)), segment) != 0 {
		return p, fmt.Errorf("packet %x: got a wrong checksum", b)
	}
	p.src = netip.AddrPortFrom(src, binary.BigEndian.Uint16(segment))
	p.dst = netip.AddrPortFrom(dst, binary.BigEndian.Uint16(segment[2:]))
	p.payload = segment
	if p.proto == unix.IPPROTO_UDP {
		p.payload = segment[8:]
	}
	return p, nil
}

// bytes builds the packet with its checksums.
func (p packet) bytes() []byte {
	segment, at := slices.Clone(p.payload), 16
	if p.proto == unix.IPPROTO_UDP {
		segment, at = append(make([]byte, 8), p.payload...), 6
		binary.BigEndian.PutUint16(segment[4:], uint16(len(segment)))
	}
	binary.BigEndian.PutUint16(segment, p.src.Port())
	binary.BigEndian.PutUint16(segment[2:], p.dst.Port())
	binary.BigEndian.PutUint16(segment[at:], sum(pseudo(p.src.Addr(), p.dst.Addr(), p.proto, len(segment)), segment))
	if p.src.Addr().Is6() {
		header := make([]byte, 8, 40)
		header[0], header[6], header[7] = 6<<4, p.proto, 64
		binary.BigEndian.PutUint16(header[4:], uint16(len(segment)))
		header = append(append(header, p.src.Addr().AsSlice()...), p.dst.Addr().AsSlice()...)
		return append(header, segment...)
	}
	header := make([]byte, 12, 20)
	header[0], header[8], header[9] = 4<<4|5, 64, p.proto
	binary.BigEndian.PutUint16(header[2:], uint16(20+len(segment)))
	header = append(append(header, p.src.Addr().AsSlice()...), p.dst.Addr().AsSlice()...)
	binary.BigEndian.PutUint16(header[10:], sum(0, header))
	return append(header, segment...)
}

// accept returns the answer to a SYN, with an offer of 64 KiB and no options but the segment size of any MTU.
func (p packet) accept() packet {
	segment := make([]byte, 24)
	binary.BigEndian.PutUint32(segment[4:], 1000)
	binary.BigEndian.PutUint32(segment[8:], binary.BigEndian.Uint32(p.payload[4:])+1)
	segment[12], segment[13] = 6<<4, flagSYN|flagACK
	binary.BigEndian.PutUint16(segment[14:], 0xffff)
	copy(segment[20:], []byte{2, 4, 0xff, 0xff}) // maximum segment size 65535
	return packet{proto: p.proto, src: p.dst, dst: p.src, payload: segment}
}

// pseudo is the sum of the pseudo header that checksums of UDP and TCP begin with.
func pseudo(src, dst netip.Addr, proto byte, size int) uint32 {
	total := uint32(proto) + uint32(size)
	for _, half := range [][]byte{src.AsSlice(), dst.AsSlice()} {
		for i := 0; i < len(half); i += 2 {
			total += uint32(binary.BigEndian.Uint16(half[i:]))
		}
	}
	return total
}

// sum is the Internet checksum, RFC 1071: zero over data that has a right one in it.
func sum(total uint32, b []byte) uint16 {
	for i := 0; i+1 < len(b); i += 2 {
		total += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	if len(b)%2 == 1 {
		total += uint32(b[len(b)-1]) << 8
	}
	for total>>16 != 0 {
		total = total>>16 + total&0xffff
	}
	return ^uint16(total)
}
