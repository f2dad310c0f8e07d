// A CSI driver whose volumes are folders of one node and whose snapshots are copies of them.
//
// It serves the identity, controller and node services on one socket, and registers itself with the kubelet, so that it
// needs no sidecar on the node. A snapshot is complete before the call returns. It is for tests: nothing here limits the
// size of a volume, and a copy of a volume that is being written to is not of one moment.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"
	registration "k8s.io/kubelet/pkg/apis/pluginregistration/v1"
)

// The name in storage classes and snapshot classes.
const driverName = "folder.csi.berth.test"

type driver struct {
	csi.UnimplementedIdentityServer
	csi.UnimplementedControllerServer
	csi.UnimplementedNodeServer
	registration.UnimplementedRegistrationServer
	node, socket, volumes, snapshots string
}

func main() {
	kubelet := flag.String("kubelet", "/var/lib/kubelet", "the kubelet's folder")
	data := flag.String("data", "", "the folder of volumes and snapshots")
	node := flag.String("node", "", "the node's name")
	flag.Parse()
	if err := run(*kubelet, *data, *node); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(kubelet, data, node string) error {
	d := &driver{
		node:      node,
		socket:    filepath.Join(kubelet, "plugins", driverName, "csi.sock"),
		volumes:   filepath.Join(data, "volumes"),
		snapshots: filepath.Join(data, "snapshots"),
	}
	for _, folder := range []string{d.volumes, d.snapshots} {
		if err := os.MkdirAll(folder, 0o755); err != nil {
			return err
		}
	}
	ended := make(chan error, 2)
	services := grpc.NewServer()
	csi.RegisterIdentityServer(services, d)
	csi.RegisterControllerServer(services, d)
	csi.RegisterNodeServer(services, d)
	if err := serve(services, d.socket, ended); err != nil {
		return err
	}
	// The kubelet watches this folder, and connects to a socket as soon as it is there.
	known := grpc.NewServer()
	registration.RegisterRegistrationServer(known, d)
	if err := serve(known, filepath.Join(kubelet, "plugins_registry", driverName+"-reg.sock"), ended); err != nil {
		return err
	}
	return <-ended
}

func serve(server *grpc.Server, socket string, ended chan<- error) error {
	if err := os.MkdirAll(filepath.Dir(socket), 0o755); err != nil {
		return err
	}
	if err := os.Remove(socket); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	listener, err := net.Listen("unix", socket)
	if err != nil {
		return err
	}
	go func() { ended <- server.Serve(listener) }()
	return nil
}

func (d *driver) GetInfo(context.Context, *registration.InfoRequest) (*registration.PluginInfo, error) {
	return &registration.PluginInfo{
		Type:              registration.CSIPlugin,
		Name:              driverName,
		Endpoint:          d.socket,
		SupportedVersions: []string{"1.0.0"},
	}, nil
}

func (d *driver) NotifyRegistrationStatus(_ context.Context, said *registration.RegistrationStatus) (*registration.RegistrationStatusResponse, error) {
	fmt.Fprintf(os.Stderr, "registered: %t %s\n", said.PluginRegistered, said.Error)
	return &registration.RegistrationStatusResponse{}, nil
}

func (d *driver) GetPluginInfo(context.Context, *csi.GetPluginInfoRequest) (*csi.GetPluginInfoResponse, error) {
	return &csi.GetPluginInfoResponse{Name: driverName, VendorVersion: "1"}, nil
}

func (d *driver) GetPluginCapabilities(context.Context, *csi.GetPluginCapabilitiesRequest) (*csi.GetPluginCapabilitiesResponse, error) {
	service := &csi.PluginCapability_Service{Type: csi.PluginCapability_Service_CONTROLLER_SERVICE}
	return &csi.GetPluginCapabilitiesResponse{Capabilities: []*csi.PluginCapability{
		{Type: &csi.PluginCapability_Service_{Service: service}},
	}}, nil
}

func (d *driver) Probe(context.Context, *csi.ProbeRequest) (*csi.ProbeResponse, error) {
	return &csi.ProbeResponse{}, nil
}

func (d *driver) ControllerGetCapabilities(context.Context, *csi.ControllerGetCapabilitiesRequest) (*csi.ControllerGetCapabilitiesResponse, error) {
	answer := &csi.ControllerGetCapabilitiesResponse{}
	for _, can := range []csi.ControllerServiceCapability_RPC_Type{
		csi.ControllerServiceCapability_RPC_CREATE_DELETE_VOLUME,
		csi.ControllerServiceCapability_RPC_CREATE_DELETE_SNAPSHOT,
	} {
		rpc := &csi.ControllerServiceCapability_RPC{Type: can}
		answer.Capabilities = append(answer.Capabilities, &csi.ControllerServiceCapability{
			Type: &csi.ControllerServiceCapability_Rpc{Rpc: rpc},
		})
	}
	return answer, nil
}

func (d *driver) CreateVolume(_ context.Context, ask *csi.CreateVolumeRequest) (*csi.CreateVolumeResponse, error) {
	path, err := inside(d.volumes, ask.Name)
	if err != nil {
		return nil, err
	}
	if source := ask.VolumeContentSource; source != nil {
		from, err := inside(d.snapshots, source.GetSnapshot().GetSnapshotId())
		if err != nil {
			return nil, err
		}
		if err := copyFolder(from, path); err != nil {
			return nil, err
		}
	} else if err := os.MkdirAll(path, 0o777); err != nil {
		return nil, status.Error(codes.Internal, err.Error())
	}
	// The mask of the process does not count, so that a Pod of any user can write.
	if err := os.Chmod(path, 0o777); err != nil {
		return nil, status.Error(codes.Internal, err.Error())
	}
	return &csi.CreateVolumeResponse{Volume: &csi.Volume{
		VolumeId:      ask.Name,
		CapacityBytes: ask.CapacityRange.GetRequiredBytes(),
		ContentSource: ask.VolumeContentSource,
	}}, nil
}

func (d *driver) DeleteVolume(_ context.Context, ask *csi.DeleteVolumeRequest) (*csi.DeleteVolumeResponse, error) {
	return &csi.DeleteVolumeResponse{}, remove(d.volumes, ask.VolumeId)
}

func (d *driver) ValidateVolumeCapabilities(_ context.Context, ask *csi.ValidateVolumeCapabilitiesRequest) (*csi.ValidateVolumeCapabilitiesResponse, error) {
	return &csi.ValidateVolumeCapabilitiesResponse{
		Confirmed: &csi.ValidateVolumeCapabilitiesResponse_Confirmed{VolumeCapabilities: ask.VolumeCapabilities},
	}, nil
}

func (d *driver) CreateSnapshot(_ context.Context, ask *csi.CreateSnapshotRequest) (*csi.CreateSnapshotResponse, error) {
	from, err := inside(d.volumes, ask.SourceVolumeId)
	if err != nil {
		return nil, err
	}
	to, err := inside(d.snapshots, ask.Name)
	if err != nil {
		return nil, err
	}
	if err := copyFolder(from, to); err != nil {
		return nil, err
	}
	info, err := os.Stat(to)
	if err != nil {
		return nil, status.Error(codes.Internal, err.Error())
	}
	return &csi.CreateSnapshotResponse{Snapshot: &csi.Snapshot{
		SnapshotId:     ask.Name,
		SourceVolumeId: ask.SourceVolumeId,
		CreationTime:   timestamppb.New(info.ModTime()),
		ReadyToUse:     true,
	}}, nil
}

func (d *driver) DeleteSnapshot(_ context.Context, ask *csi.DeleteSnapshotRequest) (*csi.DeleteSnapshotResponse, error) {
	return &csi.DeleteSnapshotResponse{}, remove(d.snapshots, ask.SnapshotId)
}

func (d *driver) NodeGetInfo(context.Context, *csi.NodeGetInfoRequest) (*csi.NodeGetInfoResponse, error) {
	return &csi.NodeGetInfoResponse{NodeId: d.node}, nil
}

func (d *driver) NodeGetCapabilities(context.Context, *csi.NodeGetCapabilitiesRequest) (*csi.NodeGetCapabilitiesResponse, error) {
	return &csi.NodeGetCapabilitiesResponse{}, nil
}

func (d *driver) NodePublishVolume(_ context.Context, ask *csi.NodePublishVolumeRequest) (*csi.NodePublishVolumeResponse, error) {
	path, err := inside(d.volumes, ask.VolumeId)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(ask.TargetPath, 0o750); err != nil {
		return nil, status.Error(codes.Internal, err.Error())
	}
	same, err := sameFolder(path, ask.TargetPath)
	if err == nil && !same {
		err = syscall.Mount(path, ask.TargetPath, "", syscall.MS_BIND, "")
	}
	if err != nil {
		return nil, status.Error(codes.Internal, err.Error())
	}
	return &csi.NodePublishVolumeResponse{}, nil
}

func (d *driver) NodeUnpublishVolume(_ context.Context, ask *csi.NodeUnpublishVolumeRequest) (*csi.NodeUnpublishVolumeResponse, error) {
	// EINVAL: nothing is mounted there any more.
	err := syscall.Unmount(ask.TargetPath, 0)
	if err != nil && !errors.Is(err, syscall.EINVAL) && !errors.Is(err, syscall.ENOENT) {
		return nil, status.Error(codes.Internal, err.Error())
	}
	if err := os.Remove(ask.TargetPath); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, status.Error(codes.Internal, err.Error())
	}
	return &csi.NodeUnpublishVolumeResponse{}, nil
}

// inside gives the folder of that name, which must be one below the parent.
func inside(parent, name string) (string, error) {
	if name == "" || strings.HasPrefix(name, ".") || strings.ContainsRune(name, '/') {
		return "", status.Errorf(codes.InvalidArgument, "%q names no folder", name)
	}
	return filepath.Join(parent, name), nil
}

// copyFolder copies a folder with its owners and modes. The copy appears under its name when it is complete; a second call
// leaves it.
func copyFolder(from, to string) error {
	if _, err := os.Stat(from); err != nil {
		return status.Error(codes.NotFound, err.Error())
	}
	if _, err := os.Stat(to); err == nil {
		return nil
	}
	unfinished := filepath.Join(filepath.Dir(to), "."+filepath.Base(to))
	if err := os.RemoveAll(unfinished); err != nil {
		return status.Error(codes.Internal, err.Error())
	}
	if said, err := exec.Command("cp", "--archive", from, unfinished).CombinedOutput(); err != nil {
		return status.Errorf(codes.Internal, "cp: %v: %s", err, said)
	}
	if err := os.Rename(unfinished, to); err != nil {
		return status.Error(codes.Internal, err.Error())
	}
	return nil
}

func remove(parent, name string) error {
	path, err := inside(parent, name)
	if err != nil {
		return err
	}
	if err := os.RemoveAll(path); err != nil {
		return status.Error(codes.Internal, err.Error())
	}
	return nil
}

// sameFolder tells whether one folder is mounted on the other.
func sameFolder(a, b string) (bool, error) {
	first, err := os.Stat(a)
	if err != nil {
		return false, err
	}
	second, err := os.Stat(b)
	if err != nil {
		return false, err
	}
	return os.SameFile(first, second), nil
}
