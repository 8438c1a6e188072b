"""Draining members and brokers, and limits for the whole fleet."""

from tests.server.broker_fleet import FleetWorld
from tests.server.virtual import run

ADMIN = {"Authorization": "Bearer admin"}


def test_a_member_drains_and_no_client_is_sent_there() -> None:
    async def main() -> None:
        fleet = FleetWorld([2, 2], admin_token="admin", member_admin_token="admin")
        for world in fleet.worlds:
            object.__setattr__(world.hub.settings, "admin_token", "admin")
        await fleet.ready()
        live = await fleet.worlds[0].client().connected()
        async with fleet.asking() as http:
            assert (await http.post("/admin/drain", json={"member": fleet.names[0]})).status_code == 403
            unknown = await http.post("/admin/drain", json={"member": "nobody\n"}, headers=ADMIN)
            assert (unknown.status_code, "known: 127.0.0.1:9000" in unknown.json()["error"]) == (404, True)
            assert (await http.post("/admin/drain", json={"members": "x"}, headers=ADMIN)).status_code == 422
            done = await http.post("/admin/drain", json={"member": fleet.names[0]}, headers=ADMIN)
            assert (done.status_code, done.json()["status"]) == (200, "draining")
            answers = [await fleet.connect(f"10.0.0.{n}") for n in range(5)]
            assert [answer.status_code for answer in answers] == [200] * 4 + [503]
            assert all(fleet.names[1] in answer.json()["ws_url"] for answer in answers[:4])
            health = (await http.get("/health")).json()
            assert health["capacity"]["available_slots"] == 0
            assert live.of("draining")
            undone = await http.request("DELETE", "/admin/drain", json={"member": fleet.names[0]}, headers=ADMIN)
            assert undone.json()["status"] != "draining"
            assert (await fleet.connect("10.0.8.8")).status_code == 200
        await fleet.close()

    run(main)


def test_a_broker_drains_without_its_members_and_sets_limits_for_all_of_them() -> None:
    async def main() -> None:
        fleet = FleetWorld([2, 2], admin_token="admin", member_admin_token="admin")
        for world in fleet.worlds:
            object.__setattr__(world.hub.settings, "admin_token", "admin")
        await fleet.ready()
        async with fleet.asking() as http:
            said = await http.put("/admin/limits", json={"max_connections_per_gpu": 3}, headers=ADMIN)
            assert said.json() == {"max_connections_per_gpu": 3, "members": 2}
            assert (await http.get("/health")).json()["capacity"]["total_slots"] == 12
            await http.post("/admin/drain", headers=ADMIN)
            refused = await fleet.connect()
            assert (refused.status_code, refused.json()["code"]) == (503, "draining")
            assert (await http.get("/readyz")).status_code == 503
            assert [world.hub.drain.active for world in fleet.worlds] == [False, False]
            await http.delete("/admin/drain", headers=ADMIN)
        assert (await fleet.connect()).status_code == 200
        await fleet.close()

    run(main)
