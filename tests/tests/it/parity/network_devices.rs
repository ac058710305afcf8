//! Real network devices of every kind that this kernel supports, in their own namespace: both exporters observe how they
//! appear, change and disappear.

use anyhow::{Context, Result, bail, ensure};
use testbed::{
    comparison::pair::{Both, Pair},
    host::network::Network,
    slot::Slot,
};

use super::agree;

/// In `parity/differences.txt` as everywhere.
const PLACE: &str = "this_host";
/// Series of each device without traffic.
const SERIES: usize = 25;
const ONLY: [&str; 3] = [
    "--collector.disable-defaults",
    "--collector.netclass",
    "--collector.netdev",
];

/// Kinds, and how `ip` makes a device of each. Not every kernel has all.
const KINDS: [(&str, &str); 20] = [
    ("veth", "link add veth0 type veth peer name veth1"),
    ("bridge", "link add br0 type bridge"),
    ("bond", "link add bond0 type bond"),
    ("vlan", "link add link veth0 name vlan5 type vlan id 5"),
    (
        "vxlan",
        "link add vxlan7 type vxlan id 7 dstport 4789 dev veth0",
    ),
    (
        "macvlan",
        "link add link veth1 name mv0 type macvlan mode bridge",
    ),
    ("macvtap", "link add link veth1 name mvt0 type macvtap"),
    ("ipvlan", "link add link br0 name ipv0 type ipvlan"),
    ("tun", "tuntap add dev tun0 mode tun"),
    ("tap", "tuntap add dev tap0 mode tap"),
    ("dummy", "link add dummy0 type dummy"),
    ("ifb", "link add ifb0 type ifb"),
    ("wireguard", "link add wg0 type wireguard"),
    ("geneve", "link add gv0 type geneve id 3 remote 192.0.2.2"),
    (
        "ipip",
        "link add ipip0 type ipip local 192.0.2.1 remote 192.0.2.2",
    ),
    (
        "sit",
        "link add sit1 type sit local 192.0.2.1 remote 192.0.2.2",
    ),
    (
        "gre",
        "link add gre1 type gre local 192.0.2.1 remote 192.0.2.2",
    ),
    ("vrf", "link add vrf0 type vrf table 10"),
    ("netkit", "link add nk0 type netkit"),
    ("vcan", "link add vcan0 type vcan"),
];

/// Changes of the devices, one after another. Both exporters keep running and are compared after each line.
const CHANGES: [&str; 19] = [
    "link set veth0 up\nlink set veth1 up",
    "link set veth0 master br0\nlink set br0 up",
    "link set mv0 up\nlink set mvt0 up\nlink set vxlan7 up\nlink set tun0 up\nlink set ifb0 up",
    "link set mv0 promisc on\nlink set mv0 allmulticast on",
    "link set ifb0 alias 'a \"quoted\" alias'",
    "link set ifb0 group 42\nlink set ifb0 txqueuelen 1234\nlink set tap0 mtu 68",
    // The kernel then says that a user has chosen it, and the address stays.
    "link set veth1 address 02:00:00:00:00:01",
    "link set veth1 address 02:00:00:00:00:01\nlink set tap0 address 02:00:00:00:00:02",
    "link set vxlan7 down\nlink set vxlan7 name renamed7",
    // The name is the former one again, and how it came about is not.
    "link set ifb0 down\nlink set ifb0 name other\nlink set other name ifb0",
    "link set tap0 name swap\nlink set ifb0 name tap0\nlink set swap name ifb0",
    "link set veth1 down",
    "link delete mv0\nlink add link veth1 name mv0 type macvlan mode private",
    "link delete tap0\nlink add tap0 type veth peer name tap1",
    "link delete tap0\nlink add index 77 name tap0 type bridge",
    "link delete tap0\nlink add index 77 name tap0 address 02:00:00:00:00:03 type bridge",
    "link set mv0 type macvlan mode bridge\nlink property add dev tap0 altname another-name",
    "link set veth1 up\nlink set mv0 up",
    "link set veth0 down",
];

/// Creates a namespace with a device of each kind; prints which kinds this kernel refuses.
fn devices(name: &str) -> Result<Network> {
    let network = Network::new(name)?;
    for (kind, line) in KINDS {
        if let Err(error) = network.ip(line) {
            let refused = error.to_string();
            ensure!(
                refused.contains("Unknown device type") || refused.contains("not supported"),
                "{kind}: {refused}"
            );
            println!("not compared, because this kernel has no {kind}");
        }
    }
    Ok(network)
}

/// Compares what both show when nothing changes any more.
fn compare(pair: &Pair, network: &Network, step: &str) -> Result<()> {
    let devices = network.devices()?.len();
    agree(pair, PLACE, devices * SERIES).with_context(|| format!("after {step:?}"))
}

#[test]
fn devices_of_every_kind_are_shown_alike_whatever_happens_to_them() -> Result<()> {
    let slot = Slot::alone();
    let network = devices("link-kinds")?;
    let pair = Pair::start_in(&network, &slot, &ONLY)?;
    compare(&pair, &network, "the start")?;
    for lines in CHANGES {
        network.ip_batch(&format!("{lines}\n"))?;
        compare(&pair, &network, lines)?;
    }
    Ok(())
}

#[test]
fn devices_that_move_between_namespaces_are_shown_alike() -> Result<()> {
    let slot = Slot::alone();
    let (network, other) = (Network::new("link-here")?, Network::new("link-there")?);
    network.ip("link add br0 type bridge")?;
    let pair = Pair::start_in(&network, &slot, &ONLY)?;
    for (from, to, line) in [
        (&network, &other, "link add v0 type veth peer name v1"),
        (&other, &network, "link set v1 alias from-here"),
        (&network, &other, "link set v0 name v9"),
    ] {
        from.ip(line)?;
        compare(&pair, &network, line)?;
        // Its number may change on the way, and its peer is in another namespace now.
        from.ip(&format!("link set v1 netns {}", to.name()))?;
        compare(&pair, &network, &format!("{line}, and moved"))?;
    }
    Ok(())
}

#[test]
fn the_options_of_both_collectors_are_shown_alike() -> Result<()> {
    let slot = Slot::alone();
    let network = devices("link-options")?;
    network.ip("link set veth0 up")?;
    network.ip("link set veth1 up")?;
    network.ip("link set veth1 alias two")?;
    for options in [
        &["--collector.netdev.enable-detailed-metrics"][..],
        &["--collector.netdev.label-ifalias"],
        &["--collector.netdev.device-exclude=^veth"],
        &["--collector.netdev.device-include=^veth|^lo$"],
        &["--collector.netclass.ignored-devices=^(veth.*|lo)$"],
        &["--collector.netclass.ignore-invalid-speed"],
        &["--collector.netclass.netlink"],
        &["--no-collector.netdev.netlink"],
    ] {
        let flags = [&ONLY[..], options].concat();
        let pair = Pair::start_in(&network, &slot, &flags)?;
        agree(&pair, PLACE, SERIES).with_context(|| format!("with {options:?}"))?;
    }
    for alone in ["--collector.netclass", "--collector.netdev"] {
        let pair = Pair::start_in(&network, &slot, &["--collector.disable-defaults", alone])?;
        agree(&pair, PLACE, SERIES).with_context(|| format!("with {alone:?} alone"))?;
    }
    Ok(())
}

/// A sysfs shows the namespace in which it was mounted.
#[test]
fn a_sysfs_of_another_namespace_is_believed() -> Result<()> {
    let slot = Slot::alone();
    let (network, other) = (Network::new("link-own")?, Network::new("link-foreign")?);
    for (network, address) in [(&network, 1), (&other, 2)] {
        network.ip(&format!(
            "link add br0 address 02:00:00:00:00:0{address} type bridge"
        ))?;
    }
    let sysfs = format!("--path.sysfs={}", other.sysfs().display());
    let flags = [
        "--collector.disable-defaults",
        "--collector.netclass",
        &sysfs,
    ];
    let pair = Pair::start_in(&network, &slot, &flags)?;
    agree(&pair, PLACE, 30)?;
    let Both { ours, .. } = pair.get("/metrics")?;
    ensure!(
        ours.1.contains("address=\"02:00:00:00:00:02\""),
        "{}",
        ours.1
    );
    Ok(())
}

#[test]
fn collectors_share_a_dump_also_when_only_one_is_asked_for_and_when_scrapes_cross() -> Result<()> {
    let slot = Slot::alone();
    let network = Network::new("link-shared")?;
    network.ip("link add v0 type veth peer name v1")?;
    let pair = Pair::start_in(&network, &slot, &ONLY)?;
    let shown = |path: &str, family: &str| -> Result<usize> {
        let (status, body) = pair.get(path)?.ours;
        ensure!(status == 200, "{status}: {body}");
        Ok(body.lines().filter(|line| line.starts_with(family)).count())
    };
    let (netclass, netdev) = ("node_network_up{", "node_network_receive_bytes_total{");
    ensure!(shown("/metrics?collect[]=netdev", netdev)? == 3);
    ensure!(shown("/metrics?collect[]=netdev", netclass)? == 0);
    network.ip("link add w0 type veth peer name w1")?;
    ensure!(shown("/metrics?collect[]=netclass", netclass)? == 5);
    ensure!(shown("/metrics?collect[]=netclass", netdev)? == 0);

    // Devices come and go: within a scrape both collectors see the same ones all the same.
    std::thread::scope(|scope| {
        let scrape = || -> Result<()> {
            for _ in 0..20 {
                let (status, body) = pair.get("/metrics")?.ours;
                ensure!(status == 200, "{status}: {body}");
                let devices = |family: &str| -> Vec<String> {
                    let lines = body.lines().filter_map(|line| line.strip_prefix(family));
                    let name = |rest: &str| rest.split('}').next().unwrap_or_default().to_owned();
                    lines.map(name).collect()
                };
                let (up, received) = (devices(netclass), devices(netdev));
                ensure!(up == received && up.len() >= 5, "{up:?} and {received:?}");
            }
            Ok(())
        };
        let scrapers = [scope.spawn(scrape), scope.spawn(scrape)];
        while scrapers.iter().any(|scraper| !scraper.is_finished()) {
            network.ip("link add x0 type veth peer name x1")?;
            network.ip("link delete x0")?;
        }
        for scraper in scrapers {
            match scraper.join() {
                Ok(outcome) => outcome?,
                Err(_) => bail!("a scraper panicked"),
            }
        }
        Ok(())
    })
}

#[test]
fn descriptors_do_not_grow_with_devices() -> Result<()> {
    let slot = Slot::alone();
    let network = Network::new("link-many")?;
    network.ip("link add v0 type veth peer name v1")?;
    let foreign = Network::new("link-many-files")?;
    let sysfs = format!("--path.sysfs={}", foreign.sysfs().display());
    // Over netlink, and from files.
    for more in [&[][..], &[sysfs.as_str()]] {
        let pair = Pair::start_in(&network, &slot, &[&ONLY[..], more].concat())?;
        let held = || -> Result<usize> {
            for _ in 0..3 {
                pair.get("/metrics")?;
            }
            Ok(pair.descriptors()?.ours)
        };
        let few = held()?;
        for number in 0..40 {
            for network in [&network, &foreign] {
                network.ip(&format!("link add a{number} type veth peer name b{number}"))?;
            }
        }
        let many = held()?;
        ensure!(
            many <= few,
            "{few} descriptors became {many} with 80 devices"
        );
        for number in 0..40 {
            for network in [&network, &foreign] {
                network.ip(&format!("link delete a{number}"))?;
            }
        }
    }
    Ok(())
}
