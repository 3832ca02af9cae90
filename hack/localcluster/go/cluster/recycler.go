package main

import (
	"context"
	"flag"
	"log"
	"os"
	"path/filepath"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

// runVolumeRecycler empties the node's few static volumes when their claims are gone and offers them again. Static
// local volumes have no provisioner, and without this a cluster that people keep for days runs out of them.
func runVolumeRecycler() {
	kubeconfig := flag.String("kubeconfig", "", "how to reach the API server")
	root := flag.String("root", "", "the folder that holds the volumes; nothing outside it is ever touched")
	class := flag.String("class", "standard", "the storage class whose volumes are recycled")
	flag.Parse()
	config, err := clientcmd.BuildConfigFromFlags("", *kubeconfig)
	if err != nil {
		log.Fatal(err)
	}
	client := kubernetes.NewForConfigOrDie(config)
	wait.Forever(func() {
		if err := recycle(client, *root, *class); err != nil {
			log.Print(err)
		}
	}, 2*time.Second)
}

func recycle(client kubernetes.Interface, root, class string) error {
	ctx := context.Background()
	volumes, err := client.CoreV1().PersistentVolumes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	for _, volume := range volumes.Items {
		if volume.Status.Phase != corev1.VolumeReleased || volume.Spec.StorageClassName != class {
			continue
		}
		if volume.Spec.Local == nil || filepath.Dir(volume.Spec.Local.Path) != root {
			continue
		}
		if err := empty(volume.Spec.Local.Path); err != nil {
			return err
		}
		// The resource version makes this fail when somebody else bound or changed the volume meanwhile.
		patch := []byte(`{"metadata":{"resourceVersion":"` + volume.ResourceVersion + `"},"spec":{"claimRef":null}}`)
		_, err := client.CoreV1().PersistentVolumes().Patch(ctx, volume.Name, types.MergePatchType, patch, metav1.PatchOptions{})
		if err != nil {
			return err
		}
		log.Printf("recycled %s", volume.Name)
	}
	return nil
}

// empty leaves the folder as `up` made it: nothing in it, writable by any user, because pods run as users that the
// cluster knows nothing about.
func empty(folder string) error {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if err := os.RemoveAll(filepath.Join(folder, entry.Name())); err != nil {
			return err
		}
	}
	if err := os.Chown(folder, 0, 0); err != nil {
		return err
	}
	return os.Chmod(folder, 0o777)
}
