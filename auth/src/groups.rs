//! Groups: users that share a grant. Who is in which is the users' side.

use crate::error::{Error, Kind, Result};
use crate::factors::check_factors;
use crate::name::check_name;
use crate::user::{Grant, Group};
use crate::users::Users;

impl Users {
    /// All groups, by name.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn list_groups(&self) -> Result<Vec<Group>> {
        let rows: Vec<(String, String)> =
            sqlx::query_as("SELECT name, granted FROM user_groups ORDER BY name").fetch_all(self.db.pool()).await?;
        rows.into_iter().map(|(name, granted)| Ok(Group { name, grant: serde_json::from_str(&granted)? })).collect()
    }

    /// Adds a group.
    ///
    /// # Errors
    /// [`Error::InvalidName`]; [`Error::Invalid`]; [`Error::AlreadyExists`], also when a name differs only in case.
    pub async fn add_group(&self, group: &Group) -> Result<()> {
        check_name(&group.name)?;
        check_factors(group.grant.factors.as_deref().unwrap_or_default())?;
        let mut write = self.db.write().await?;
        let taken: Option<String> = sqlx::query_scalar("SELECT name FROM user_groups WHERE name = ? COLLATE NOCASE")
            .bind(&group.name)
            .fetch_optional(&mut *write)
            .await?;
        if let Some(name) = taken {
            return Err(Error::AlreadyExists { kind: Kind::Group, name });
        }
        sqlx::query("INSERT INTO user_groups (name, granted) VALUES (?, ?)")
            .bind(&group.name)
            .bind(serde_json::to_string(&group.grant)?)
            .execute(&mut *write)
            .await?;
        write.commit().await
    }

    /// Grants a group's members something else.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Invalid`].
    pub async fn set_group(&self, name: &str, grant: &Grant) -> Result<()> {
        check_factors(grant.factors.as_deref().unwrap_or_default())?;
        let mut write = self.db.write().await?;
        let done = sqlx::query("UPDATE user_groups SET granted = ? WHERE name = ?")
            .bind(serde_json::to_string(grant)?)
            .bind(name)
            .execute(&mut *write)
            .await?;
        if done.rows_affected() == 0 {
            return Err(Error::not_found(Kind::Group, name));
        }
        write.commit().await
    }

    /// Removes a group without members. With members it stays: what it forbids them would be allowed all at once.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::GroupInUse`].
    pub async fn remove_group(&self, name: &str) -> Result<()> {
        let mut write = self.db.write().await?;
        let found: Option<(i64, i64)> = sqlx::query_as(
            "SELECT id, (SELECT count(*) FROM group_members m WHERE m.group_id = g.id) FROM user_groups g WHERE name = ?",
        )
        .bind(name)
        .fetch_optional(&mut *write)
        .await?;
        let (id, members) = found.ok_or_else(|| Error::not_found(Kind::Group, name))?;
        if members > 0 {
            return Err(Error::GroupInUse { name: name.to_owned(), members });
        }
        sqlx::query("DELETE FROM user_groups WHERE id = ?").bind(id).execute(&mut *write).await?;
        write.commit().await
    }
}
