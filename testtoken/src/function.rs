//! The functions of PKCS#11 v2.40, by name and by place in the function list.

use std::fmt;

macro_rules! functions {
    ($($name:ident)+) => {
        /// A function of `CK_FUNCTION_LIST` (PKCS#11 v2.40 §3.6), in its order there.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[allow(missing_docs, non_camel_case_types, clippy::enum_variant_names, reason = "the standard's names")]
        pub(crate) enum Function { $($name),+ }

        impl Function {
            /// Every function, in the list's order.
            pub(crate) const ALL: [Function; [$(stringify!($name)),+].len()] = [$(Function::$name),+];

            /// The standard's name, such as `C_Sign`.
            pub(crate) fn name(self) -> &'static str {
                match self { $(Function::$name => stringify!($name)),+ }
            }
        }
    };
}

functions! {
    C_Initialize C_Finalize C_GetInfo C_GetFunctionList C_GetSlotList C_GetSlotInfo C_GetTokenInfo
    C_GetMechanismList C_GetMechanismInfo C_InitToken C_InitPIN C_SetPIN C_OpenSession
    C_CloseSession C_CloseAllSessions C_GetSessionInfo C_GetOperationState C_SetOperationState
    C_Login C_Logout C_CreateObject C_CopyObject C_DestroyObject C_GetObjectSize
    C_GetAttributeValue C_SetAttributeValue C_FindObjectsInit C_FindObjects C_FindObjectsFinal
    C_EncryptInit C_Encrypt C_EncryptUpdate C_EncryptFinal C_DecryptInit C_Decrypt
    C_DecryptUpdate C_DecryptFinal C_DigestInit C_Digest C_DigestUpdate C_DigestKey C_DigestFinal
    C_SignInit C_Sign C_SignUpdate C_SignFinal C_SignRecoverInit C_SignRecover C_VerifyInit
    C_Verify C_VerifyUpdate C_VerifyFinal C_VerifyRecoverInit C_VerifyRecover
    C_DigestEncryptUpdate C_DecryptDigestUpdate C_SignEncryptUpdate C_DecryptVerifyUpdate
    C_GenerateKey C_GenerateKeyPair C_WrapKey C_UnwrapKey C_DeriveKey C_SeedRandom
    C_GenerateRandom C_GetFunctionStatus C_CancelFunction C_WaitForSlotEvent
}

impl Function {
    /// The function of that name.
    pub(crate) fn named(name: &str) -> Option<Function> {
        Function::ALL
            .into_iter()
            .find(|function| function.name() == name)
    }

    pub(crate) fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_back_and_indexes_are_in_order() {
        assert_eq!(Function::ALL.len(), 68);
        for (index, function) in Function::ALL.into_iter().enumerate() {
            assert_eq!(function.index(), index);
            assert_eq!(Function::named(function.name()), Some(function));
        }
        assert_eq!(Function::named("C_Sing"), None);
    }
}
