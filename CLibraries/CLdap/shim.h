#include <ldap.h>
#include <openldap.h>

// What Swift does not see, since it is a macro with a cast.
static const int ldap_scope_this = LDAP_SCOPE_BASE;
static const int ldap_scope_below = LDAP_SCOPE_SUBTREE;
static const int ldap_tls_1_2 = LDAP_OPT_X_TLS_PROTOCOL_TLS1_2;
