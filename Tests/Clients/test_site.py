"""The ground that the other tests stand on: a site of one manager, and one of two on MariaDB."""

import unittest

from clientkit.site import Site, SiteTest, wait


class OneManager(SiteTest):
    def test_token(self):
        me = self.site.call("GET", "/v1/users/admin")
        self.assertEqual(me["name"], "admin")

    def test_user(self):
        token = self.site.add_user("site-user")
        self.assertEqual(self.site.request("GET", "/v1/users/site-user", token=token)[0], 200)

    def test_no_token(self):
        status, problem = self.site.request("GET", "/v1/flavors")
        self.assertEqual((status, problem["code"]), (401, "invalid_token"))


class TwoManagers(unittest.TestCase):
    def test_same_record(self):
        with Site(managers=2) as site:
            first, second = site.managers
            site.add_flavor("shared")
            self.assertEqual(second.call("GET", "/v1/flavors/shared")["name"], "shared")
            wait("both are on record", lambda: len(first.call("GET", "/v1/managers")["items"]) == 2, 10)
