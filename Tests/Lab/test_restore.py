"""The record goes back to a backup while the hosts have gone on."""

from fleet import LabTest, wait_until


class Restore(LabTest):
    def test_a_restored_record_boots_and_the_hosts_converge(self):
        fleet, site = self.fleet, self.fleet.site
        configuration = str(site.configuration(site.manager))
        backup = fleet.record.folder / "backup.roost"
        backup.unlink(missing_ok=True)

        def store(*words):
            return site.manager.run(site.program("roost-manager"), "store", *words, "--config", configuration)

        [kept] = fleet.create("kept", node="host1")
        [doomed] = fleet.create("doomed", node="host1")
        process = fleet.domain_process("host1", kept["id"])
        # Online: the manager goes on meanwhile.
        store("backup", str(backup))
        [later] = fleet.create("later", node="host1")
        fleet.call("DELETE", f"/v1/instances/{doomed['id']}", expect=202)
        fleet.wait_until_gone(doomed["id"])

        site.manager.kill("manager")
        store("restore", str(backup), "--force")
        site.start_manager()
        site.wait_for_nodes([host.name for host in fleet.hosts()], seconds=60)
        names = {one["name"] for one in fleet.instances()}
        self.assertIn("kept", names)
        self.assertNotIn("later", names)
        # What the record does not know is stopped, and its disk kept for whoever looks for it.
        wait_until("the unknown guest is stopped", lambda: later["id"] not in fleet.domains("host1"), 60)
        kept_disks = fleet.host("host1").run("find", str(fleet.host("host1").folder), "-path", f"*{later['id']}*", "-type", "f")
        self.assertTrue(kept_disks.stdout.strip(), "the disk of the unknown guest is gone")
        # One that was deleted since is there again, or says why not.
        again = wait_until("the deleted one has settled", lambda: next(
            (one for one in [fleet.instance(doomed["id"])] if one["status"] in ("ACTIVE", "ERROR")), None), 120)
        if again["status"] == "ERROR":
            self.assertTrue(again["status_reason"])
        else:
            self.assertIn(doomed["id"], fleet.domains("host1"))
        self.assertEqual(fleet.instance(kept["id"])["status"], "ACTIVE")
        self.assertEqual(fleet.domain_process("host1", kept["id"]), process, "a guest was touched")
        # The host's usage was acknowledged beyond what the record knows of now. It is counted on all the same.
        counted = fleet.server_seconds(kept)
        wait_until("usage is counted on", lambda: fleet.server_seconds(kept) > counted, 60)
        self.assertTrue([one for one in fleet.pages("/v1/events") if one["kind"] == "node.usage_lost"])
        [new] = fleet.create("new", node="host1")
        self.assertEqual(new["status"], "ACTIVE")
        store("check")
